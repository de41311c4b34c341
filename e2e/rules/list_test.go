package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gracefleet/gracefleet/internal/needs"
)

const module = "github.com/gracefleet/gracefleet"

// pkg is a package of the module as built for Linux.
type pkg struct {
	ImportPath string
	Name       string
	Dir        string
	Doc        string

	GoFiles        []string
	IgnoredGoFiles []string // of other systems
	TestGoFiles    []string
	XTestGoFiles   []string

	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string // all that is imported, however indirectly
}

// local is the path inside the module; "." is its root.
func (p pkg) local() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

// in says whether the package is one of the directories or below one.
func (p pkg) in(dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return below(p.local(), dir) })
}

// allImports are those of the package and of its tests.
func (p pkg) allImports() []string {
	return slices.Concat(p.Imports, p.TestImports, p.XTestImports)
}

// files are the paths of the package's Go files, tests included.
func (p pkg) files() []string {
	return p.paths(slices.Concat(p.GoFiles, p.IgnoredGoFiles, p.TestGoFiles, p.XTestGoFiles))
}

func (p pkg) paths(names []string) []string {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = filepath.Join(p.Dir, name)
	}
	return paths
}

// below says whether an import path or directory is dir or inside it.
func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// standard says whether an import path is of the standard library: alone among
// all, its first element has no dot.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

var listOnce = sync.OnceValues(list)

// packages lists the module's packages.
func packages(t *testing.T) []pkg {
	t.Helper()
	needGo(t)
	pkgs, err := listOnce()
	if err != nil {
		t.Fatal(err)
	}
	return pkgs
}

func needGo(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("go")
	needs.That(t, err == nil, "no go command")
}

func list() ([]pkg, error) {
	out, err := goCommand("linux", "list", "-json", module+"/...")
	if err != nil {
		return nil, err
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		switch err := dec.Decode(&p); {
		case err == nil:
			pkgs = append(pkgs, p)
		case errors.Is(err, io.EOF):
			return pkgs, nil
		default:
			return nil, err
		}
	}
}

// goCommand runs the go command for a system, without cgo.
func goCommand(goos string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("GOOS=%s go %s: %w\n%s", goos, strings.Join(args, " "), err, stderr.Bytes())
	}
	return out, nil
}
