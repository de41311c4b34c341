package inventory

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gracefleet/gracefleet/ctl/internal/strict"
)

var update = flag.Bool("update", false, "write the golden files")

// fleet is the inventory of the tests.
func fleet(t testing.TB) *Inventory {
	t.Helper()
	data, err := os.ReadFile("testdata/fleet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	i, err := Parse("fleet.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestHostsInheritFromTheirGroups(t *testing.T) {
	web := map[string]string{"port": "0080", "motd": "hello {artifact}"}
	want := []Host{
		{
			Name: "db-1.example.org", Address: "db-1.example.org:7443", AgentID: "spiffe://example.org/gracefleet/agent/db-1",
			Labels: map[string]string{"role": "db"}, Vars: map[string]string{},
		},
		{Name: "here", Address: "unix:/run/gracefleet/graced.sock", Labels: map[string]string{}, Vars: map[string]string{}},
		{
			Name: "web-1", Address: "web-1.example.org:7000", Groups: []string{"web"},
			Labels: map[string]string{"role": "web", "zone": "b"}, Vars: map[string]string{"port": "81", "motd": web["motd"]},
		},
		{
			Name: "web-2", Address: "192.0.2.2:7443", Groups: []string{"web", "zone-a"},
			Labels: map[string]string{"role": "web", "zone": "a"}, Vars: web,
		},
	}
	if diff := cmp.Diff(want, fleet(t).Hosts); diff != "" {
		t.Error(diff)
	}
}

func TestJSONIsAnInventory(t *testing.T) {
	i, err := Parse("exec:x", []byte(`{"groups": {"web": {"labels": {"role": "web"}}}, "hosts": [{"name": "b", "groups": ["web"]}, {"name": "a"}]}`))
	if err != nil || len(i.Hosts) != 2 || i.Hosts[0].Name != "a" || i.Hosts[1].Labels["role"] != "web" {
		t.Errorf("%+v %v", i, err)
	}
}

func TestEveryMistakeIsReportedWithItsPlace(t *testing.T) {
	data, err := os.ReadFile("testdata/errors.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Parse("errors.yaml", data)
	var all strict.Errors
	if !errors.As(err, &all) {
		t.Fatalf("%v is not strict.Errors", err)
	}
	golden := filepath.Join("testdata", "errors.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, readErr := os.ReadFile(golden)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
		t.Errorf("%s differs (-want +got; -update writes it):\n%s", golden, diff)
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"web-1":               "web-1:7443",
		"WEB-1.Example.org":   "web-1.example.org:7443",
		"web_1:80":            "web_1:80",
		"web-1:0080":          "web-1:80",
		"192.0.2.1":           "192.0.2.1:7443",
		"192.0.2.1:1":         "192.0.2.1:1",
		"2001:db8::1":         "[2001:db8::1]:7443",
		"[2001:DB8:0::1]":     "[2001:db8::1]:7443",
		"[2001:db8::1]:65535": "[2001:db8::1]:65535",
		"unix:/run/x":         "unix:/run/x",
		"unix:///run/x":       "unix:/run/x",
	} {
		got, err := ParseAddress(text)
		if err != nil || got != want {
			t.Errorf("%q became %q, %v; want %q", text, got, err, want)
		}
		if again, err := ParseAddress(got); err != nil || again != got {
			t.Errorf("%q became %q, %v", got, again, err)
		}
	}
	for _, text := range []string{
		"", ":", ":80", "a:", "a:0", "a:65536", "a:+1", "a:-1", "a:x", "http://a", "a b", "a/b", "-a", "a-.b", "a..b", "a.", "[::1", "[::1]7443", "[::1]:", "[a]:1",
		"[192.0.2.1]:1", "::1%eth0", "[fe80::1%eth0]:1", "1:2:3", "unix:", "unix:x", "unix:/", "unix:/a/", "unix:/a/../b", "unix:/a?b", "unix://x",
		"unix:/" + strings.Repeat("a", 107), strings.Repeat("a.", 127) + "a", strings.Repeat("a", 64), "a\nb",
	} {
		if got, err := ParseAddress(text); err == nil {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// hosts is an inventory of so many hosts, as text.
func hosts(n int) string {
	var b strings.Builder
	b.WriteString("hosts:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: web-%05d, labels: {rack: r%d}}\n", i, i%40)
	}
	return b.String()
}

func TestBounds(t *testing.T) {
	i, err := Parse("many.yaml", []byte(hosts(MaxHosts)))
	if err != nil || len(i.Hosts) != MaxHosts {
		t.Fatalf("%v", err)
	}
	_, err = Parse("many.yaml", []byte(hosts(MaxHosts+5)))
	if want := "many.yaml:10002:5: hosts[10000]: more than 10000 hosts"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	var pairs, groups strings.Builder
	for n := range maxPairs + 1 {
		fmt.Fprintf(&pairs, "k%02d: v, ", n)
	}
	some := pairs.String()[:len("k00: v, ")*40]
	for n := range maxGroups + 1 {
		fmt.Fprintf(&groups, "  g%d: {}\n", n)
	}
	for text, want := range map[string]string{
		"hosts: [{name: a, labels: {" + pairs.String() + "}}]":                                                                     "more than 64 in one place",
		"groups: {g: {vars: {" + some + "}}}\nhosts: [{name: a, groups: [g], vars: {" + strings.ReplaceAll(some, "k", "h") + "}}]": "0 labels and 80 vars with those of its groups: at most 64 each",
		"groups:\n" + groups.String() + "hosts: []":                                                                                "more than 1000 groups",
		"hosts: [{name: a, vars: {v: " + strings.Repeat("x", maxVar+1) + "}}]":                                                     "text of 4097 bytes: at most 4096",
		"hosts: [] #" + strings.Repeat("x", MaxBytes):                                                                              "at most 4194304",
	} {
		if _, err := Parse("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestExpand(t *testing.T) {
	all := fleet(t)
	web := all.Hosts[2]
	for text, want := range map[string]string{
		"":                                "",
		"{artifact} {fd:http} {}":         "{artifact} {fd:http} {}",
		"tcp://0.0.0.0:{host.vars.port}":  "tcp://0.0.0.0:81",
		"{host.name}-{host.labels.zone}{": "web-1-b{",
		"{host.vars.motd}":                "hello {artifact}",
		"tcp://{host.address}:80":         "tcp://web-1.example.org:80",
	} {
		if got, err := web.Expand(text); err != nil || got != want {
			t.Errorf("%q became %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"{host.vars.prot}":   `{host.vars.prot} on host web-1: it has no such one: did you mean port?`,
		"{host.labels.q}":    `it has no such one: there is role, zone`,
		"{host.adress}":      "want {host.name}, {host.address}, {host.vars.NAME} or {host.labels.KEY}",
		"{host.vars}":        "it has no such one",
		"{host.vars.port":    "no closing brace",
		"{host.{host.name}}": "want {host.name}",
	} {
		if got, err := web.Expand(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q became %q, %v; want %s", text, got, err, want)
		}
	}
	for address, want := range map[string][2]string{
		"[2001:db8::1]:7443": {"[2001:db8::1]", "2001:db8::1"},
		"192.0.2.1:7443":     {"192.0.2.1", "192.0.2.1"},
		"unix:/run/s":        {"unix:/run/s", "unix:/run/s"},
	} {
		h := Host{Address: address}
		if got, err := h.Expand("{host.address}"); err != nil || got != want[0] || h.Place() != want[1] {
			t.Errorf("%s became %q, %v, and is at %s", address, got, err, h.Place())
		}
	}
	if _, err := all.Hosts[0].Expand("{host.vars.port}"); err == nil || !strings.Contains(err.Error(), "it has no vars") {
		t.Errorf("%v", err)
	}
	big := Host{Name: "a", Vars: map[string]string{"x": strings.Repeat("x", maxVar)}}
	if _, err := big.Expand(strings.Repeat("{host.vars.x}", 300)); err == nil {
		t.Error("300 times 4 KiB are taken")
	}
}

// FuzzParse holds the decoder to its promises: no panic, every mistake has a place and
// a reason, and what is taken is in order, unlike and within bounds.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"testdata/fleet.yaml", "testdata/errors.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, text := range []string{"", "hosts:", "hosts: []", `{"hosts":[{"name":"a","address":"[::1]:1"}]}`, "hosts: [{name: a, groups: [g]}]\ngroups: {g: }", "hosts: [*x]"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := Parse("f.yaml", data)
		if err != nil {
			var all strict.Errors
			if !errors.As(err, &all) {
				t.Fatalf("%T is not strict.Errors: %v", err, err)
			}
			for _, e := range all {
				if e.Line < 1 || e.Column < 1 || e.Reason == "" {
					t.Errorf("%+v", e)
				}
			}
			return
		}
		names := i.names()
		if !slices.IsSorted(names) || len(slices.Compact(names)) != len(i.Hosts) {
			t.Errorf("names %q", names)
		}
		for _, h := range i.Hosts {
			if address, err := ParseAddress(h.Address); err != nil || address != h.Address {
				t.Errorf("address %q: %v", h.Address, err)
			}
			s, err := ParseSelector(h.Name)
			if err != nil {
				t.Fatal(err)
			}
			if found, err := i.Choose(Choice{Hosts: []Selector{s}}); err != nil || len(found) != 1 || found[0].Name != h.Name {
				t.Errorf("%q finds %v, %v", h.Name, found, err)
			}
			for k, v := range h.Labels {
				s, err := ParseSelector(k + "=" + v)
				if err != nil || !s.conditions[0].fits(h) {
					t.Errorf("%s=%s does not fit: %v", k, v, err)
				}
			}
		}
	})
}
