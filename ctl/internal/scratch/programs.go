package scratch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const modulePath = "github.com/gracefleet/gracefleet"

// Programs are the agent's two binaries, side by side.
type Programs struct{ Graced, Shim string }

// Find looks beside this program, then on the PATH, and builds them in dir from the
// module's source where that is at hand; building tells that it does.
func Find(ctx context.Context, dir string, building func(string)) (Programs, error) {
	if self, err := os.Executable(); err == nil {
		if p, ok := inDirectory(filepath.Dir(self)); ok {
			return p, nil
		}
	}
	if graced, err := exec.LookPath("graced"); err == nil {
		if p, ok := inDirectory(filepath.Dir(graced)); ok {
			return p, nil
		}
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return Programs{}, fmt.Errorf("graced and graced-shim are neither beside gracectl nor on the PATH, and cannot be built: %w", err)
	}
	building("building graced and graced-shim; the first time takes a while")
	bin := filepath.Join(dir, "bin")
	build := exec.CommandContext(ctx, "go", "build", "-o", bin+"/", "./agent/graced", "./agent/graced-shim")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return Programs{}, fmt.Errorf("build the agent: %w\n%s", err, bytes.TrimSpace(out))
	}
	p, _ := inDirectory(bin)
	return p, nil
}

func inDirectory(dir string) (Programs, bool) {
	p := Programs{filepath.Join(dir, "graced"), filepath.Join(dir, "graced-shim")}
	for _, f := range []string{p.Graced, p.Shim} {
		if info, err := os.Stat(f); err != nil || !info.Mode().IsRegular() {
			return Programs{}, false
		}
	}
	return p, true
}

// moduleRoot is the checkout that the current directory lies in.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}} {{.Dir}}").Output()
	if err != nil {
		return "", errors.New("this is not a checkout of gracefleet with Go installed")
	}
	path, root, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if path != modulePath {
		return "", fmt.Errorf("the current directory belongs to module %s, not to %s", path, modulePath)
	}
	return root, nil
}
