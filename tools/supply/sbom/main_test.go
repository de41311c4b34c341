package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// The test's own program is one like any other.
func TestBillOfThisProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := run(out, "v1.2.3", []string{self}); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same program has two bills")
	}
	var b cdx.BOM
	if err := cdx.NewBOMDecoder(&first, cdx.BOMFileFormatJSON).Decode(&b); err != nil {
		t.Fatal(err)
	}
	info, _ := debug.ReadBuildInfo()
	want := []string{filepath.Base(self), "stdlib"}
	for _, m := range info.Deps {
		want = append(want, m.Path)
	}
	var got []string
	for _, c := range *b.Components {
		got = append(got, c.Name)
	}
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("it has %v, want %v", got, want)
	}
	for _, d := range *b.Dependencies {
		for _, ref := range *orNone(d.Dependencies) {
			if !slices.ContainsFunc(*b.Components, func(c cdx.Component) bool { return c.BOMRef == ref }) {
				t.Errorf("%s needs %s, which is no component", d.Ref, ref)
			}
		}
	}
}

func orNone(refs *[]string) *[]string {
	if refs == nil {
		return &[]string{}
	}
	return refs
}

func TestNoProgram(t *testing.T) {
	if err := run(&bytes.Buffer{}, "v1", []string{"main.go"}); err == nil {
		t.Error("a text is taken for a program")
	}
}
