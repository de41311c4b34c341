//go:build linux

package e2e

import (
	"testing"

	"github.com/gracefleet/gracefleet/e2e/harness"
)

// Hosts that are down keep nobody from the release, are named, and get it when they
// are back.
func TestFleetWithHostsThatAreDown(t *testing.T) {
	for name, c := range map[string]struct {
		hosts int
		again func(f *fleet, id string, command []string) []string
	}{
		"resumed": {30, func(f *fleet, id string, _ []string) []string {
			return []string{"rollout", "resume", id, harness.Program(f.t, "runtime", "v2"), "-o", "json"}
		}},
		"by the same command": {6, func(_ *fleet, _ string, command []string) []string { return command }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait for long
			f := startFleet(t, c.hosts)
			before, down := f.Runs(), f.Hosts[1:5]
			f.Cut(down...)
			command := f.upgrade("v2", "--canary", "1", "--waves", "50%,100%", "--max-unreachable", "4")
			report := f.ended(f.Here.Try(command...), 6, before, f.digest("v2"))
			f.became(report, map[string]int{"upgraded": c.hosts - 4, "unreachable": 4})
			for _, h := range down {
				if report.Hosts[h.Name] != "unreachable" {
					t.Errorf("%s is down, and %s in the report", h.Name, report.Hosts[h.Name])
				}
			}
			f.Heal(down...)
			late := f.ended(f.Elsewhere.Try(c.again(f, report.ID, command)...), 0, before, f.digest("v2"))
			if late.Count("upgraded")+late.Count("unchanged") != c.hosts {
				t.Errorf("when all were back, they became %v", late.Hosts)
			}
		})
	}
}

// A third of the hosts is cut off in the middle of a wave, and comes back: what they
// did alone counts, and the rollout goes on.
func TestFleetPartition(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 9)
	before := f.Runs()
	driver := f.Here.Start(f.upgrade("v2", "--canary", "1", "--waves", "4,100%", "--soak", "1s", "--max-unreachable", "3")...)
	cut := f.Hosts[3:6]
	driver.Until(cut[0].Name, "soaking")
	f.Cut(cut...)
	driver.Until("unreachable")
	f.Heal(cut...)
	f.became(f.ended(driver.End(), 0, before, f.digest("v2")), map[string]int{"upgraded": 9})
}

// An agent that dies in the middle of its host's upgrade delays it, no more.
func TestFleetAgentDiesInItsWave(t *testing.T) {
	f := startFleet(t, 3)
	before := f.Runs()
	driver := f.Here.Start(f.upgrade("v2", "--canary", "1", "--soak", "2s")...)
	first := f.Host(f.hostOf(driver.Until("soaking")))
	first.Kill9(t)
	first.Restart(t)
	f.became(f.ended(driver.End(), 0, before, f.digest("v2")), map[string]int{"upgraded": 3})
}
