//go:build linux

package harness

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

const module = "github.com/gracefleet/gracefleet"

// binaries is where everything is built to; Main sets and removes it.
var binaries string

// product builds what every test needs, side by side.
var product = sync.OnceValue(func() error {
	if err := build(binaries, nil, RaceBuild, "agent/graced"); err != nil {
		return err
	}
	return build(binaries, nil, false, "agent/graced-shim", "ctl/gracectl", "e2e/load/cmd/loadgen")
})

// built holds one sync.OnceValues per program and version.
var built sync.Map

// Program builds a testserver, named by its folder, and returns its path. The
// version is what the program says of itself; another version is another
// artifact.
func Program(t testing.TB, name, version string) string {
	t.Helper()
	path := filepath.Join(programs(t), name+"-"+version)
	once, _ := built.LoadOrStore(path, sync.OnceValue(func() error {
		return build(path, []string{"-ldflags", "-X main.version=" + version}, false, "e2e/testserver/"+name)
	}))
	if err := once.(func() error)(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Digest is how agents name a program that was built.
func Digest(t testing.TB, path string) string {
	t.Helper()
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(program))
}

func programs(t testing.TB) string {
	t.Helper()
	if binaries == "" {
		t.Fatal("TestMain must call harness.Main")
	}
	return binaries
}

// Binary is graced, graced-shim, gracectl or loadgen.
func Binary(t testing.TB, name string) string {
	t.Helper()
	dir := programs(t)
	if err := product(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

func build(to string, flags []string, race bool, packages ...string) error {
	args := append([]string{"build", "-buildvcs=false", "-o", to}, flags...)
	cgo := "CGO_ENABLED=0"
	if race {
		args, cgo = append(args, "-race"), "CGO_ENABLED=1"
	}
	for _, p := range packages {
		args = append(args, module+"/"+p)
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return nil
}
