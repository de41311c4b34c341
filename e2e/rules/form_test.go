package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// maxLines is where a file has become more than one party.
const maxLines = 500

// Each package says what it is; one of several files has a doc.go that is their
// map and names each of them.
func TestEveryPackageIsDocumented(t *testing.T) {
	for _, p := range packages(t) {
		if allGenerated(t, p) {
			continue
		}
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.local())
		}
		code := slices.Concat(p.GoFiles, p.IgnoredGoFiles)
		if len(code) < 2 {
			continue
		}
		doc, err := os.ReadFile(filepath.Join(p.Dir, "doc.go"))
		if err != nil {
			t.Errorf("%s has no doc.go", p.local())
			continue
		}
		if strings.Contains(string(doc), ", ...") {
			continue // many files of one kind, named by example
		}
		for _, name := range code {
			// Tests need no room in the map, also those of other builds.
			if name != "doc.go" && !strings.HasSuffix(name, "_test.go") && !strings.Contains(string(doc), name) {
				t.Errorf("%s/doc.go does not mention %s", p.local(), name)
			}
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, p := range packages(t) {
		for _, path := range p.files() {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
				continue
			}
			if n := strings.Count(string(text), "\n"); n > maxLines && !generated(t, path) {
				t.Errorf("%s has %d lines, of at most %d: more than one party lives in it", path, n, maxLines)
			}
		}
	}
}

// A name must say what is inside.
func TestNoPackageIsADrawer(t *testing.T) {
	drawers := []string{"base", "common", "helper", "helpers", "lib", "misc", "shared", "util", "utils"}
	for _, p := range packages(t) {
		for element := range strings.SplitSeq(p.local()+"/"+p.Name, "/") {
			if slices.Contains(drawers, element) {
				t.Errorf("%s: a package is named for what it does, not %q", p.local(), element)
			}
		}
	}
}

func allGenerated(t *testing.T, p pkg) bool {
	t.Helper()
	return !slices.ContainsFunc(p.paths(p.GoFiles), func(path string) bool { return !generated(t, path) })
}

func generated(t *testing.T, path string) bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return ast.IsGenerated(file)
}
