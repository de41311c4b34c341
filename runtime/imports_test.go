package gracefleet

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/internal/needs"
)

// A service must not inherit our dependencies.
func TestImportsStandardLibraryAndSysAlone(t *testing.T) {
	_, err := exec.LookPath("go")
	needs.That(t, err == nil, "no go command to list imports with")
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, &stderr)
	}
	for _, path := range strings.Fields(string(out)) {
		if path != "github.com/gracefleet/gracefleet/runtime" && !strings.HasPrefix(path, "golang.org/x/sys/") {
			t.Errorf("imports %s", path)
		}
	}
}
