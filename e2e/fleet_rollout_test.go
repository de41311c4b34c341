//go:build linux

package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/e2e/harness"
)

// A canary, waves, and everybody runs the release; who says it again is told that
// there is nothing to do, and who asks anywhere hears the same.
func TestFleetRollout(t *testing.T) {
	f := startFleet(t, 6)
	before, command := f.Runs(), f.upgrade("v2", "--canary", "1", "--waves", "50%,100%", "-m", "the release")
	report := f.ended(f.Here.Try(command...), 0, before, f.digest("v2"))
	f.became(report, map[string]int{"upgraded": 6})

	again := f.ended(f.Elsewhere.Try(command...), 0, before, f.digest("v2"))
	f.became(again, map[string]int{"unchanged": 6})

	if out := f.Elsewhere.OK("hosts"); strings.Count(out, " UP ") != 6 {
		t.Errorf("hosts shows\n%s", out)
	}
	if out := f.Elsewhere.OK("rollout", "list"); !strings.Contains(out, report.ID) {
		t.Errorf("rollout list does not know %s:\n%s", report.ID, out)
	}
	out := f.Elsewhere.OK("rollout", "status", report.ID)
	for _, want := range []string{report.ID, "web-06", "upgraded", "alice", "the release"} {
		if !strings.Contains(out, want) {
			t.Errorf("rollout status %s has no %q:\n%s", report.ID, want, out)
		}
	}
}

// What was rolled out is taken back on all hosts, each to what it ran.
func TestFleetRollbackOfARollout(t *testing.T) {
	f := startFleet(t, 4)
	f.mixed()
	before := f.Runs()
	rolled := f.ended(f.Here.Try(f.upgrade("v2")...), 0, before, f.digest("v2"))
	back := f.Elsewhere.Try("rollback", "web", "--rollout", rolled.ID, "-o", "json", "-m", "users complain")
	f.became(f.ended(back, 0, before, f.digest("v2")), map[string]int{"rolled-back": 4})
}

// What a rollout will take is foreseen from the hosts' own past: how long their drains
// took. The result sets it beside what it took.
func TestFleetIsForeseen(t *testing.T) {
	f := startFleet(t, 2)
	before := f.Runs()
	f.ended(f.Here.Try(f.upgrade("v2", "--waves", "1,2")...), 0, before, f.digest("v2"))
	info, err := os.Stat(harness.Program(t, "runtime", "v3"))
	if err != nil {
		t.Fatal(err)
	}
	size := info.Size()
	var dry harness.Figures
	eventually(t, "both hosts have drained", func() bool {
		dry = f.Here.Try(f.upgrade("v3", "--waves", "1,2", "--dry-run")...).Report(t).Foreseen
		return dry.HostsWithoutDrains == 0
	})
	// Soaks of 200 ms in two waves; users' connections outlive the promotion.
	if dry.Bytes != 2*size || dry.Seconds != 0.4 || dry.SecondsWithDrains <= dry.Seconds || dry.SecondsWithDrains > 25 {
		t.Errorf("foreseen are %+v, with a program of %d bytes", dry, size)
	}
	if got := f.ended(f.Here.Try(f.upgrade("v3", "--waves", "1,2")...), 0, before, f.digest("v3")); got.Foreseen.Bytes != dry.Bytes || got.Foreseen.Seconds != dry.Seconds || got.Taken.Bytes != 2*size || got.Taken.Seconds < dry.Seconds {
		t.Errorf("in the end: %+v, in the dry run: %+v", got, dry)
	}
}

// A release that cannot run meets one host.
func TestFleetBadCanary(t *testing.T) {
	f := startFleet(t, 6)
	before, bad := f.Runs(), harness.Program(t, "bad", "v2")
	report := f.ended(f.Here.Try(f.upgradeTo(bad, "--canary", "1", "--waves", "50%,100%")...), 4, before, "")
	f.became(report, map[string]int{"failed": 1, "not-started": 5})
	touched := 0
	for _, newest := range f.generations() {
		if newest > 1 {
			touched++
		}
	}
	if touched != 1 {
		t.Errorf("%d hosts were touched, want 1", touched)
	}
}

// A release that cannot run on one host of the third wave leaves none on it: each
// returns to what it ran.
func TestFleetFailureInTheThirdWave(t *testing.T) {
	f := startFleet(t, 9)
	f.mixed()
	before, command := f.Runs(), f.upgrade("v2", "--canary", "1", "--waves", "3,6,100%")
	f.refuse(f.inWave(3, command), "v2")
	report := f.ended(f.Here.Try(command...), 4, before, f.digest("v2"))
	failed, back, never := report.Count("failed"), report.Count("rolled-back"), report.Count("not-started")
	if failed != 1 || back < 3 || never < 3 || failed+back+never != len(f.Hosts) {
		t.Errorf("the hosts became %v", report.Hosts)
	}
}
