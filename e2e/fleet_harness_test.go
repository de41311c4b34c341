//go:build linux

package e2e

import (
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/e2e/harness"
)

// The fleet of these tests is what they think: operators at two machines reach every
// host, but those that are cut off, and users reach all of them always.
func TestFleetOfTheTests(t *testing.T) {
	f := harness.StartFleet(t, 3, "v1", quick)
	before, users := f.Runs(), f.Clients()
	cut := f.Hosts[1]
	f.Cut(cut)
	if r := f.Here.Try("status", "--all"); r.Code != 6 || !strings.Contains(r.Stdout, cut.Name) {
		t.Errorf("with a host that is cut off: %v", r)
	}
	cut.CtlOK(t, "upgrade", "web", harness.Program(t, "runtime", "v2"))
	f.Heal(cut)
	f.Elsewhere.OK("status", "--all")
	if after := f.Runs(); after[cut.Name] == before[cut.Name] || after["web-01"] != before["web-01"] {
		t.Errorf("%s alone was upgraded, and now they run %v", cut.Name, after)
	}
	for h, seen := range users.End() {
		if want := map[bool]int{true: 2, false: 1}[h == cut]; len(seen.Generations) != want {
			t.Errorf("%s: %d generations answered, want %d: %v", h.Name, len(seen.Generations), want, seen)
		}
	}
}
