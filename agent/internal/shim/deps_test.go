package shim

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/internal/needs"
)

// Every service of a host keeps a shim in memory, so its imports stay few.
func TestImportsOfTheBinary(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "../../graced-shim").Output()
	needs.That(t, err == nil, "there is no go command, or no source tree, to ask")
	const module = "github.com/gracefleet/gracefleet/agent/"
	allowed := map[string]bool{
		"golang.org/x/sys/unix": true, module + "graced-shim": true,
		module + "internal/service": true, module + "internal/listen": true,
		module + "internal/cgroup": true, module + "internal/shim": true,
		// Tables of text that a service's specification refers to.
		"github.com/gracefleet/gracefleet/internal/handover": true,
	}
	for _, pkg := range strings.Fields(string(out)) {
		if !allowed[pkg] {
			t.Errorf("graced-shim imports %s", pkg)
		}
	}
	out, err = exec.Command("go", "list", "-deps", "../../graced-shim").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range strings.Fields(string(out)) {
		if pkg == "net" || pkg == "net/http" || pkg == "crypto/tls" {
			t.Errorf("graced-shim imports %s, which costs every service memory", pkg)
		}
	}
}
