package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const modulePath = "github.com/gracefleet/gracefleet"

// programs are the agent's two binaries, side by side.
type programs struct{ graced, shim string }

// findPrograms looks beside this program, then on the PATH, and builds them from
// the module's source where that is at hand.
func findPrograms(ctx context.Context, dir string, show *screen) (programs, error) {
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
		return programs{}, fmt.Errorf("graced and graced-shim are neither beside gracectl nor on the PATH, and cannot be built: %w", err)
	}
	show.say("building graced and graced-shim; the first time takes a while")
	bin := filepath.Join(dir, "bin")
	build := exec.CommandContext(ctx, "go", "build", "-o", bin+"/", "./agent/graced", "./agent/graced-shim")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return programs{}, fmt.Errorf("build the agent: %w\n%s", err, bytes.TrimSpace(out))
	}
	p, _ := inDirectory(bin)
	return p, nil
}

func inDirectory(dir string) (programs, bool) {
	p := programs{filepath.Join(dir, "graced"), filepath.Join(dir, "graced-shim")}
	for _, f := range []string{p.graced, p.shim} {
		if info, err := os.Stat(f); err != nil || !info.Mode().IsRegular() {
			return programs{}, false
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

// versions of the sample: copies of this program with a trailer. An ELF file
// runs unchanged with bytes after its end.
var versions = []string{"v1", "v2", "v3 bad", "v4"}

func (s *stage) makeVersions() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, v := range versions {
		if err := copyWithTrailer(self, s.program(v), v); err != nil {
			return fmt.Errorf("make the sample service: %w", err)
		}
	}
	return nil
}

func (s *stage) program(version string) string {
	name, _, _ := strings.Cut(version, " ")
	return filepath.Join(s.dir, "sample-"+name)
}

func copyWithTrailer(from, to, version string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		_, err = out.Write(trailer(version))
	}
	return errors.Join(err, out.Close())
}
