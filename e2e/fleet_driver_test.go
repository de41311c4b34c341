//go:build linux

package e2e

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/e2e/harness"
)

// However far a driver has come when it dies, another operator at another machine
// brings the rollout to its end.
func TestFleetDriverDiesAtEveryStep(t *testing.T) {
	f := startFleet(t, 3)
	for step := 0; ; step++ {
		before, version := f.Runs(), "v2"
		if before[f.Hosts[0].Name] == f.digest(version) {
			version = "v1"
		}
		driver := f.Here.Start(f.upgrade(version, "--canary", "1")...)
		line, more := driver.Line(step)
		driver.Kill9()
		died := driver.End()
		if !more {
			if step < 10 {
				t.Errorf("a rollout has %d steps: %v", step, died)
			}
			return
		}
		f.resumed(rolloutOf(t, died), version, before)
		if t.Failed() {
			t.Fatalf("the driver had died after\n%s", line)
		}
	}
}

// A job whose machine is gone is run again elsewhere, as it was: it finds what is
// under way, waits until nobody drives that any more, and brings it to its end.
func TestFleetJobIsRunAgain(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 3)
	before, command := f.Runs(), f.upgrade("v2", "--canary", "1", "--soak", "1s")
	driver := f.Here.Start(command...)
	driver.Until("soaking")
	driver.Kill9()
	again := f.ended(f.Elsewhere.Try(command...), 0, before, f.digest("v2"))
	f.became(again, map[string]int{"upgraded": 3})
	if id := rolloutOf(t, driver.End()); again.ID != id {
		t.Errorf("the same command was rollout %s, and then %s", id, again.ID)
	}
}

// resumed goes on with a rollout whose driver has just died, from elsewhere.
func (f *fleet) resumed(id, version string, before map[string]string) {
	f.t.Helper()
	r := f.Elsewhere.Try("rollout", "resume", id, harness.Program(f.t, "runtime", version), "--take-over", "-m", "their machine is gone", "-o", "json")
	if !strings.Contains(r.Stderr, "no host that answers knows a rollout") {
		f.became(f.ended(r, 0, before, f.digest(version)), map[string]int{"upgraded": len(f.Hosts)})
		return
	}
	report := harness.Report{Hosts: map[string]string{}}
	for _, h := range f.Hosts {
		report.Hosts[h.Name] = "not-started"
	}
	f.Settled(report, before, "")
}

// rolloutOf is the id that the first line of a rollout tells.
func rolloutOf(t testing.TB, r harness.Result) string {
	t.Helper()
	line, _, _ := strings.Cut(r.Stdout, "\n")
	var said struct{ ID string }
	if err := json.Unmarshal([]byte(line), &said); err != nil || said.ID == "" {
		t.Fatalf("no rollout in %s (%v): %v", line, err, r)
	}
	return said.ID
}

// A driver that was stopped, and wakes when another has taken over, is refused
// everywhere.
func TestFleetDriverThatSlept(t *testing.T) {
	for _, c := range []struct {
		name string
		wake func(sleeper, other *harness.Running) harness.Result
	}{
		{"while the other drives", func(sleeper, other *harness.Running) harness.Result {
			other.Until("soaking")
			sleeper.Thaw()
			return other.End()
		}},
		{"when all is over", func(sleeper, other *harness.Running) harness.Result {
			r := other.End()
			sleeper.Thaw()
			return r
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := startFleet(t, 4)
			before := f.Runs()
			sleeper := f.Here.Start(f.upgrade("v2", "--canary", "1", "--waves", "2,100%", "--soak", "1s")...)
			sleeper.Until("soaking")
			sleeper.Freeze()
			other := f.Elsewhere.Start("rollout", "resume", "--take-over", "-m", "alice's machine sleeps", "-o", "json")
			r := c.wake(sleeper, other)
			f.became(f.ended(r, 0, before, f.digest("v2")), map[string]int{"upgraded": 4})
			settled := f.generations()
			if r := sleeper.End(); r.Code != 7 {
				t.Errorf("who was overtaken ends with exit code %d, want 7: %v", r.Code, r)
			}
			if after := f.generations(); !maps.Equal(settled, after) {
				t.Errorf("who was overtaken has changed %v to %v", settled, after)
			}
		})
	}
}

// Of two operators at once one wins everywhere, and the other hears who.
func TestFleetTwoOperators(t *testing.T) {
	f := startFleet(t, 3)
	pairs := [][2]string{{"v2", "v3"}, {"v4", "v5"}} // neither runs before
	for round, tries := 0, 0; round < 50; tries++ {
		pair := pairs[tries%2]
		before, one, other := f.Runs(), f.upgrade(pair[0]), f.upgrade(pair[1])
		alice, bob := f.Here.Start(one...), f.Elsewhere.Start(other...)
		first, second := alice.End(), bob.End()
		if apart(t, first, second) {
			if tries > 100 {
				t.Fatalf("of %d rounds %d were races", tries, round)
			}
			continue // on a busy machine one may be through before the other begins
		}
		won, lost, version, winner := first, second, pair[0], "operator/alice"
		if first.Code != 0 {
			won, lost, version, winner = second, first, pair[1], "operator/bob"
		}
		f.became(f.ended(won, 0, before, f.digest(version)), map[string]int{"upgraded": 3})
		if lost.Code != 7 || !strings.Contains(lost.Stdout, winner) {
			t.Fatalf("in round %d %s won, and the other heard %v", round, winner, lost)
		}
		round++
	}
}

// apart says that one of two commands had ended before the other began.
func apart(t testing.TB, a, b harness.Result) bool {
	t.Helper()
	span := func(r harness.Result) (begin, end time.Time) {
		lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
		at := func(line string) time.Time {
			var said struct{ Time time.Time }
			if err := json.Unmarshal([]byte(line), &said); err != nil || said.Time.IsZero() {
				t.Fatalf("no time in %s (%v): %v", line, err, r)
			}
			return said.Time
		}
		return at(lines[0]), at(lines[len(lines)-1])
	}
	beginA, endA := span(a)
	beginB, endB := span(b)
	return beginB.After(endA) || beginA.After(endB)
}
