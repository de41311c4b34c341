//go:build linux

package e2e

import (
	"strings"
	"testing"
)

// Operators elsewhere tell a rollout what to do while its driver lives.
func TestFleetPauseAndResume(t *testing.T) {
	f := startFleet(t, 3)
	before := f.Runs()
	driver := f.Here.Start(f.upgrade("v2", "--canary", "1", "--soak", "1s")...)
	driver.Until("soaking")
	f.Elsewhere.OK("rollout", "pause", "-m", "wait for me")
	driver.Until("paused by an operator")
	driver.Until("web-01", "upgraded")
	if runs := f.Runs(); runs["web-02"] != before["web-02"] || runs["web-03"] != before["web-03"] {
		t.Errorf("it is paused, and they run %v", runs)
	}
	f.Elsewhere.OK("rollout", "resume", "-m", "go on")
	r := driver.End()
	_, after, _ := strings.Cut(r.Stdout, "paused by an operator")
	meanwhile, _, goesOn := strings.Cut(after, `"hold":"nothing"`)
	if !goesOn || strings.Contains(meanwhile, `"progress":"upgrading"`) {
		t.Errorf("it is paused, and its hosts: %s", meanwhile)
	}
	f.became(f.ended(r, 0, before, f.digest("v2")), map[string]int{"upgraded": 3})
}

func TestFleetPromoteAndAbort(t *testing.T) {
	f := startFleet(t, 3)
	for _, c := range []struct {
		version, word string
		code          int
		became        map[string]int
	}{
		{"v2", "promote", 0, map[string]int{"upgraded": 3}},
		{"v3", "abort", 4, map[string]int{"rolled-back": 1, "not-started": 2}},
	} {
		before := f.Runs()
		driver := f.Here.Start(f.upgrade(c.version, "--canary", "1", "--pause", "manual")...)
		driver.Until("pausing")
		if runs := f.Runs(); runs["web-01"] != f.digest(c.version) || runs["web-02"] != before["web-02"] || runs["web-03"] != before["web-03"] {
			t.Errorf("the canary alone was to be upgraded, and they run %v", runs)
		}
		f.Elsewhere.OK("rollout", c.word, "-m", "as it looks")
		f.became(f.ended(driver.End(), c.code, before, f.digest(c.version)), c.became)
	}
}

// A freeze stops what would begin, and no way back.
func TestFleetFreeze(t *testing.T) {
	f := startFleet(t, 3)
	before := f.Runs()
	rolled := f.ended(f.Here.Try(f.upgrade("v2")...), 0, before, f.digest("v2"))
	f.Elsewhere.OK("freeze", "--all", "-m", "it is Friday")
	frozen := f.Here.Try(f.upgrade("v3")...)
	f.became(f.ended(frozen, 1, f.Runs(), f.digest("v3")), map[string]int{"skipped": 3})
	if !strings.Contains(frozen.Stderr+frozen.Stdout, "it is Friday") || !strings.Contains(frozen.Stdout, "changed nothing: of 3 hosts skipped 3") {
		t.Errorf("a rollout to frozen hosts: %v", frozen)
	}
	back := f.Here.Try("rollback", "web", "--rollout", rolled.ID, "-o", "json", "-m", "even on Fridays")
	f.became(f.ended(back, 0, before, f.digest("v2")), map[string]int{"rolled-back": 3})
	f.Elsewhere.OK("unfreeze", "--all", "-m", "it is Monday")
	f.became(f.ended(f.Here.Try(f.upgrade("v3")...), 0, before, f.digest("v3")), map[string]int{"upgraded": 3})
}
