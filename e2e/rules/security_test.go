package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A defence without a test is a hope: each row of the threat model names what shows
// it, and each test named there exists.
func TestTheThreatModelIsTested(t *testing.T) {
	text, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	have := tests(t)
	named := regexp.MustCompile("`(Test[A-Za-z0-9_]+|Fuzz[A-Za-z0-9_]+)`")
	rows := 0
	for line := range strings.Lines(string(text)) {
		for _, m := range named.FindAllStringSubmatch(line, -1) {
			if !slices.Contains(have, m[1]) {
				t.Errorf("SECURITY.md names %s, and there is no such test", m[1])
			}
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || strings.TrimSpace(cells[0]) == "threat" {
			continue
		}
		rows++
		if last := cells[2]; !named.MatchString(last) && !stages(t, last) {
			t.Errorf("SECURITY.md names no test of this: %s", line)
		}
	}
	if rows < 30 {
		t.Errorf("SECURITY.md has %d rows: it is not read as it is written", rows)
	}
}

// stages says whether a cell names stages of the project's check, and all exist.
func stages(t *testing.T, cell string) bool {
	t.Helper()
	script, err := os.ReadFile("../../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(cell, -1)
	for _, m := range names {
		if !strings.Contains(string(script), "\nstage "+m[1]+" ") {
			return false
		}
	}
	return len(names) > 0
}

// tests are the names of the module's tests and fuzzers.
func tests(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, p := range packages(t) {
		for _, path := range p.paths(slices.Concat(p.TestGoFiles, p.XTestGoFiles)) {
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
					names = append(names, f.Name.Name)
				}
			}
		}
	}
	return names
}
