// Command sbom writes the bill of materials of a release, CycloneDX 1.6 as JSON,
// from what the Go linker wrote into its programs: what is really in them, not what
// a go.mod might have meant. The same programs give the same bytes.
//
//	sbom VERSION PROGRAM... >sbom.cdx.json
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

const project = "gracefleet"

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom VERSION PROGRAM...")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "sbom: %v\n", err)
		os.Exit(1)
	}
}

func run(out io.Writer, version string, paths []string) error {
	b, err := describe(version, paths)
	if err != nil {
		return err
	}
	return cdx.NewBOMEncoder(out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(b, cdx.SpecVersion1_6)
}

// describe has each program as a component, and each module in any of them.
func describe(version string, paths []string) (*cdx.BOM, error) {
	all := &cdx.Component{BOMRef: project, Type: cdx.ComponentTypeApplication, Name: project, Version: version}
	modules := map[string]cdx.Component{}
	var programs []cdx.Component
	var uses []cdx.Dependency
	var names []string
	for _, path := range paths {
		program, needs, err := read(version, path)
		if err != nil {
			return nil, err
		}
		programs, names = append(programs, program), append(names, program.BOMRef)
		maps.Copy(modules, needs)
		refs := slices.Sorted(maps.Keys(needs))
		uses = append(uses, cdx.Dependency{Ref: program.BOMRef, Dependencies: &refs})
	}
	uses = append([]cdx.Dependency{{Ref: project, Dependencies: &names}}, uses...)
	for _, ref := range slices.Sorted(maps.Keys(modules)) {
		programs = append(programs, modules[ref])
		uses = append(uses, cdx.Dependency{Ref: ref})
	}
	b := cdx.NewBOM()
	b.Metadata, b.Components, b.Dependencies = &cdx.Metadata{Component: all}, &programs, &uses
	return b, nil
}

// read returns a program and the modules in it, by their references.
func read(version, path string) (cdx.Component, map[string]cdx.Component, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return cdx.Component{}, nil, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return cdx.Component{}, nil, err
	}
	sum := sha256.Sum256(content)
	name := filepath.Base(path)
	program := cdx.Component{
		BOMRef: name, Type: cdx.ComponentTypeApplication, Name: name, Version: version,
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
	}
	needs := map[string]cdx.Component{}
	for _, m := range append(info.Deps, standard(info.GoVersion)) {
		if m.Replace != nil {
			m = m.Replace
		}
		c := library(m)
		needs[c.BOMRef] = c
	}
	return program, needs, nil
}

// standard is the standard library, as vulnerability databases name it.
func standard(goVersion string) *debug.Module {
	return &debug.Module{Path: "stdlib", Version: strings.TrimPrefix(goVersion, "go")}
}

// library is a module under its package URL. What go.sum has of it is no digest of
// a file, so it is a property.
func library(m *debug.Module) cdx.Component {
	purl := "pkg:golang/" + m.Path + "@" + m.Version
	c := cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: purl}
	if m.Sum != "" {
		c.Properties = &[]cdx.Property{{Name: "go.sum", Value: m.Sum}}
	}
	return c
}
