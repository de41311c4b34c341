//go:build linux

package e2e

import (
	"maps"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/e2e/harness"
)

// coordinated is a fleet whose operators ask an etcd who drives.
func coordinated(t *testing.T) (*fleet, *harness.Etcd) {
	t.Helper()
	f := startFleet(t, 3)
	e := f.StartEtcd()
	f.Here.Coordinator, f.Elsewhere.Coordinator = e, e
	return f, e
}

// awaitFree waits until nobody drives a rollout as far as the etcd knows.
func (f *fleet) awaitFree(e *harness.Etcd) {
	f.t.Helper()
	e.Await(0, "/gracefleet/drivers/")
}

// An etcd that hangs, or dies, in the middle of a rollout keeps nothing from its end, and
// whoever drives is told.
func TestFleetWithoutItsEtcd(t *testing.T) {
	t.Parallel()
	f, e := coordinated(t)
	for _, c := range []struct {
		version    string
		away, back func()
	}{
		{"v2", e.Stop, e.Continue},
		{"v3", e.Kill, e.Start},
	} {
		before := f.Runs()
		driver := f.Here.Start(f.upgrade(c.version, "--canary", "1", "--pause", "10s")...)
		driver.Until("pausing")
		c.away()
		r := driver.End()
		c.back()
		report := f.ended(r, 0, before, f.digest(c.version))
		f.became(report, map[string]int{"upgraded": 3})
		kept := strings.Contains(e.Ctl("get", "--prefix", "--keys-only", "/gracefleet/rollouts/web/"), report.ID)
		if !kept && !strings.Contains(r.Stderr, "may be missing in its history") {
			t.Errorf("nobody is told that the history is without %s: %v", report.ID, r)
		}
		if !strings.Contains(r.Stderr+r.Stdout, "etcd "+e.Address) {
			t.Errorf("nobody is told: %v", r)
		}
		f.awaitFree(e)
	}
}

// Two operators mean different hosts of one service: one of them has it, and the other
// hears who. The hosts alone could not tell.
func TestFleetOperatorsOfDifferentHosts(t *testing.T) {
	t.Parallel()
	f, _ := coordinated(t)
	of := func(d *harness.Driver, hosts, version string, more ...string) *harness.Running {
		args := []string{"upgrade", "web", harness.Program(t, "runtime", version), "--hosts", hosts, "--waves", "100%", "-o", "json"}
		return d.Start(append(args, more...)...)
	}
	before := f.Runs()
	driver := of(f.Here, "web-01,web-02", "v2", "--canary", "1", "--pause", "manual")
	driver.Until("pausing")
	lost := of(f.Elsewhere, "web-03", "v3").End()
	f.Here.OK("rollout", "promote")
	if id := rolloutOf(t, driver.End()); lost.Code != 7 || !strings.Contains(lost.Stdout, id) || !strings.Contains(lost.Stdout, "drives rollout") {
		t.Errorf("the second one heard %v", lost)
	}
	runs := f.Runs()
	if runs["web-01"] != f.digest("v2") || runs["web-02"] != f.digest("v2") || runs["web-03"] != before["web-03"] {
		t.Errorf("they run %v", runs)
	}
}

// A driver is killed, and another sleeps for longer than its lease in etcd: whoever goes
// on elsewhere waits for that, and the sleeper is refused by every host.
func TestFleetDriverIsGoneFromEtcd(t *testing.T) {
	t.Parallel()
	f, e := coordinated(t)
	for _, c := range []struct {
		version    string
		gone, wake func(*harness.Running)
		code       int
	}{
		{"v2", (*harness.Running).Kill9, func(*harness.Running) {}, -1},
		{"v3", (*harness.Running).Freeze, (*harness.Running).Thaw, 7},
	} {
		before := f.Runs()
		driver := f.Here.Start(f.upgrade(c.version, "--canary", "1", "--pause", "manual")...)
		driver.Until("pausing")
		c.gone(driver)
		f.awaitFree(e)
		other := f.Elsewhere.Try("rollout", "promote", "-m", "they are gone", "-o", "json")
		f.became(f.ended(other, 0, before, f.digest(c.version)), map[string]int{"upgraded": 3})
		settled := f.generations()
		c.wake(driver)
		if r := driver.End(); r.Code != c.code {
			t.Errorf("who was gone ends with exit code %d, want %d: %v", r.Code, c.code, r)
		}
		if after := f.generations(); !maps.Equal(settled, after) {
			t.Errorf("who was gone has changed %v to %v", settled, after)
		}
	}
	history := e.Ctl("get", "--prefix", "--keys-only", "/gracefleet/rollouts/web/")
	if ended := strings.Fields(history); len(ended) != 2 {
		t.Errorf("the history has %v", ended)
	}
}

// Hosts that nobody lists register themselves, and who drives is in the same etcd. It
// dies in the middle of a rollout; what hosts are there is known again when it is back.
func TestFleetOfItsRegistry(t *testing.T) {
	t.Parallel()
	f, e := coordinated(t)
	f.Register(e)
	before := f.Runs()
	driver := f.Here.Start(f.upgrade("v2", "--canary", "1", "--pause", "5s", "--spread", "zone")...)
	driver.Until("pausing")
	e.Kill()
	r := driver.End()
	if other := f.Elsewhere.Try("rollout", "list"); other.Code == 0 || !strings.Contains(other.Stderr, "etcd "+e.Address) {
		t.Errorf("where hosts cannot be known: %v", other)
	}
	e.Start()
	report := f.ended(r, 0, before, f.digest("v2"))
	f.became(report, map[string]int{"upgraded": 3})

	e.Await(len(f.Hosts), "/gracefleet/hosts/")
	f.awaitFree(e)
	back := f.Elsewhere.Try("rollback", "web", "--rollout", report.ID, "-o", "json", "-m", "users complain")
	f.became(f.ended(back, 0, before, f.digest("v2")), map[string]int{"rolled-back": 3})
}
