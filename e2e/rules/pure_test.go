package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// pure packages decide from what they are told: the same input gives the same
// answer, now and in a replay.
var pure = []struct {
	dir string
	own []string // packages of this module that it may import
}{
	{dir: "agent/internal/access", own: []string{module + "/agent/internal/service", module + "/internal/identity"}},
	{dir: "agent/internal/claim", own: []string{module + "/agent/internal/lifecycle", module + "/agent/internal/service"}},
	{dir: "agent/internal/lifecycle"},
	{dir: "ctl/rollout"},
	{dir: "agent/internal/service", own: []string{module + "/internal/handover"}},
	{dir: "ctl/internal/inventory", own: []string{module + "/ctl/internal/strict", module + "/internal/identity", module + "/internal/label"}},
	{dir: "internal/chain"},
	{dir: "agent/internal/signatures", own: []string{module + "/agent/internal/service", module + "/internal/statement"}},
	{dir: "internal/handover"},
	{dir: "internal/identity"},
	{dir: "internal/label"},
	{dir: "internal/link"},
	{dir: "internal/statement"},
	{dir: "agent/internal/steer", own: []string{module + "/agent/internal/service"}},
}

// thinking is what a pure package may import: nothing here reads or changes
// anything but its arguments. Of time it has durations; of net, addresses; of
// sync, what happens once; of bpf, the assembler; of syscall, the signals' numbers;
// of x509, what a certificate says; of minisign, what can be done with a key at hand.
var thinking = []string{
	"bytes", "cmp", "crypto/sha256", "crypto/x509", "encoding/binary", "encoding/hex", "encoding/json", "errors", "fmt", "hash/fnv", "iter", "maps", "math",
	"math/bits", "net/netip", "net/url", "path", "regexp", "slices", "sort", "strconv", "strings", "sync", "syscall", "time", "unicode", "unicode/utf8",
	"aead.dev/minisign", "golang.org/x/net/bpf",
}

// clock is what time offers beyond arithmetic.
var clock = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}

func TestPurePackagesOnlyThink(t *testing.T) {
	for _, p := range purePackages(t) {
		for _, path := range p.Imports {
			if !slices.Contains(thinking, path) && !slices.Contains(p.own, path) {
				t.Errorf("%s imports %s", p.local(), path)
			}
		}
		for _, path := range p.paths(p.GoFiles) {
			onlyThinks(t, path)
		}
	}
}

type purePackage struct {
	pkg
	own []string
}

func purePackages(t *testing.T) (found []purePackage) {
	t.Helper()
	for _, p := range packages(t) {
		for _, rule := range pure {
			if p.local() == rule.dir {
				found = append(found, purePackage{pkg: p, own: rule.own})
			}
		}
	}
	return found
}

// onlyThinks finds what needs no import to be impure, or hides behind one.
func onlyThinks(t *testing.T, path string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.GoStmt:
			t.Errorf("%s: starts a goroutine", files.Position(node.Pos()))
		case *ast.SelectorExpr:
			if of, ok := node.X.(*ast.Ident); ok && acts(of.Name, node.Sel.Name) {
				t.Errorf("%s: uses %s.%s", files.Position(node.Pos()), of.Name, node.Sel.Name)
			}
		}
		return true
	})
}

// acts says whether a name of a package that may be imported does more than
// compute.
func acts(of, name string) bool {
	switch of {
	case "time":
		return slices.Contains(clock, name)
	case "minisign":
		return !slices.Contains([]string{"NewReader", "PrivateKey", "PublicKey", "Signature", "Verify"}, name)
	case "x509":
		return name != "Certificate"
	case "syscall":
		return !strings.HasPrefix(name, "SIG") && name != "Signal"
	default:
		return false
	}
}
