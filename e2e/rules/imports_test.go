package rules

import (
	"slices"
	"testing"
)

// mechanism is what the agent does to the host. The packages that decide get it
// passed in behind interfaces of their own.
var mechanism = []string{
	module + "/agent/internal/audit",
	module + "/agent/internal/cgroup",
	module + "/agent/internal/fetch",
	module + "/agent/internal/listen",
	module + "/agent/internal/probe",
	module + "/agent/internal/registry",
	module + "/agent/internal/shim",
	module + "/agent/internal/socket",
	module + "/agent/internal/store",
	module + "/agent/internal/systemd",
	module + "/agent/internal/trust",
}

// wire is what only the two ends of the API know.
var wire = []string{module + "/api", "google.golang.org/protobuf"}

// forbidden lists imports that nothing in some directories may have, tests
// included, with the reason.
var forbidden = []struct {
	in      []string
	imports []string
	why     string
}{
	{
		in:      []string{"ctl", "e2e", "api", "runtime"},
		imports: []string{module + "/agent"},
		why:     "it meets the agent through the API, or as a program",
	},
	{
		in:      []string{"agent", "api", "runtime"},
		imports: []string{module + "/ctl"},
		why:     "the command is a client like any other",
	},
	{
		in:      []string{"agent/internal/supervisor"},
		imports: mechanism,
		why:     "package agent passes it in as an interface",
	},
	{
		// Artifacts, logs and the audit record go straight between the disk and the wire.
		in: []string{"agent/internal/server"},
		imports: slices.DeleteFunc(slices.Clone(mechanism), func(path string) bool {
			return path == module+"/agent/internal/store" || path == module+"/agent/internal/audit" || path == module+"/agent/internal/fetch"
		}),
		why: "package agent passes it in as an interface",
	},
	{
		in: []string{
			"agent/internal/access", "agent/internal/audit", "agent/internal/certs", "agent/internal/cgroup", "agent/internal/claim", "agent/internal/fetch", "agent/internal/lifecycle", "agent/internal/listen", "agent/internal/probe",
			"agent/internal/registry", "agent/internal/service", "agent/internal/shim", "agent/internal/signatures", "agent/internal/socket", "agent/internal/steer", "agent/internal/store", "agent/internal/trust",
		},
		imports: []string{module + "/agent/internal/supervisor", module + "/agent/internal/server"},
		why:     "imports go downward",
	},
	{
		in:      []string{"agent/internal/supervisor"},
		imports: []string{module + "/agent/internal/server"},
		why:     "imports go downward",
	},
	{
		in: []string{
			"agent/internal/access", "agent/internal/audit", "agent/internal/certs", "agent/internal/cgroup", "agent/internal/claim", "agent/internal/fetch", "agent/internal/lifecycle", "agent/internal/listen", "agent/internal/probe",
			"agent/internal/service", "agent/internal/shim", "agent/internal/signatures", "agent/internal/socket", "agent/internal/steer", "agent/internal/store", "agent/internal/trust",
			"agent/internal/supervisor", "agent/graced-shim", "runtime",
		},
		imports: wire,
		why:     "the API's types end at the server, which converts them",
	},
}

func TestForbiddenImports(t *testing.T) {
	for _, p := range packages(t) {
		for _, rule := range forbidden {
			if !p.in(rule.in...) {
				continue
			}
			for _, path := range p.allImports() {
				if slices.ContainsFunc(rule.imports, func(dir string) bool { return below(path, dir) }) {
					t.Errorf("%s imports %s: %s", p.local(), path, rule.why)
				}
			}
		}
	}
}

// The API's types are for those who speak it.
func TestOnlyTheEndsOfTheAPIImportItsTypes(t *testing.T) {
	for _, p := range packages(t) {
		if p.in("api", "ctl", "e2e", "agent/internal/server") {
			continue
		}
		if slices.Contains(p.allImports(), module+"/api/gracefleet/v1") {
			t.Errorf("%s imports the API's types: agent/internal/server converts them", p.local())
		}
	}
}

// A service must not inherit the project's dependencies; only who asks for the
// gRPC part gets gRPC.
func TestRuntimeImportsTheStandardLibraryAndSysAlone(t *testing.T) {
	for _, p := range packages(t) {
		if !p.in("runtime") || p.in("runtime/gracegrpc") {
			continue
		}
		for _, path := range p.Deps {
			if !standard(path) && !below(path, "golang.org/x/sys") && !below(path, module+"/runtime") {
				t.Errorf("%s depends on %s", p.local(), path)
			}
		}
	}
}

// One shim lives beside every generation: each import is memory on every host.
func TestShimImportsTheStandardLibraryAndSysAlone(t *testing.T) {
	for _, p := range packages(t) {
		if !p.in("agent/graced-shim") {
			continue
		}
		for _, path := range p.Deps {
			if !standard(path) && !below(path, "golang.org/x/sys") && !below(path, module+"/agent/internal") && path != module+"/internal/handover" {
				t.Errorf("%s depends on %s", p.local(), path)
			}
			if path == "net/http" {
				t.Errorf("%s depends on %s", p.local(), path)
			}
		}
	}
}

// A rule about a package that has moved would hold nothing.
func TestTheListHasWhatTheRulesAreAbout(t *testing.T) {
	var have []string
	for _, p := range packages(t) {
		have = append(have, p.local())
	}
	for _, dir := range []string{
		"agent", "agent/graced", "agent/graced-shim", "agent/internal/access", "agent/internal/certs", "agent/internal/lifecycle", "agent/internal/server", "agent/internal/service", "agent/internal/signatures",
		"agent/internal/steer", "agent/internal/supervisor", "api", "api/gracefleet/v1", "ctl", "ctl/gracectl", "runtime",
	} {
		if !slices.Contains(have, dir) {
			t.Errorf("no package %s: a rule about it holds nothing", dir)
		}
	}
}
