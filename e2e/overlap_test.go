//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// startExclusive starts a program of which one copy can run: it holds a lock.
func startExclusive(t *testing.T, more string) *service {
	t.Helper()
	lock := t.TempDir() + "/lock"
	return start(t, "runtime", strings.Replace(signalDrain, "upgrade: {soak: 0s}", "upgrade: {overlap: none"+more+"}", 1)+
		"args: [-lock, "+lock+", -lame-duck, 100ms]\n")
}

// startsAfter is the specification of a version that does nothing for a while.
func (s *service) startsAfter(version, delay string) string {
	return strings.Replace(s.yaml(version), "args: [", "args: [-start-after, "+delay+", ", 1)
}

// Programs that cannot overlap take turns: connections wait for the next one.
func TestUpgradesWithoutOverlap(t *testing.T) {
	s := startExclusive(t, "")
	l := s.load(rate(), rate(), nil)
	answered(t, l, 100)
	upgrade := s.alternate()
	for i := range 5 {
		upgrade(i)
		s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
		answered(t, l, 100)
	}
	s.CtlOK(t, "rollback", "web")
	answered(t, l, 100)
	unharmed(t, l)
	if g := harness.Active(s.Status(t, "web")); g.GetNumber() != 7 || g.GetRestarts() != 0 {
		t.Errorf("active is %v, want generation 7 that never had to be started again", g)
	}
}

// A candidate that fails has taken the old one's place already: the old program is
// started again, and answers those who waited.
func TestGoingBackWithoutOverlap(t *testing.T) {
	for name, c := range map[string]struct {
		more   string
		delay  string
		abort  bool
		reason pb.Reason
	}{
		"late":       {more: ", overlap_limit: 1s", delay: "20s", reason: pb.Reason_REASON_READY_TIMEOUT},
		"queue full": {delay: "20s", reason: pb.Reason_REASON_QUEUE_FULL},
		"aborted":    {delay: "20s", abort: true, reason: pb.Reason_REASON_ABORTED},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startExclusive(t, c.more)
			fresh := rate() / 2
			if c.reason == pb.Reason_REASON_QUEUE_FULL {
				s.spec = strings.Replace(s.spec, "listen: ", "backlog: 100, listen: ", 1)
				s.CtlOK(t, "upgrade", "-f", s.Spec(t, s.yaml("v1")))
			}
			before := harness.Active(s.Status(t, "web"))
			l := s.load(fresh, fresh, nil)
			answered(t, l, 50)
			file := s.Spec(t, s.startsAfter("v2", c.delay))
			if c.abort {
				s.CtlOK(t, "upgrade", "-f", file, "--wait", "none")
				s.Await(t, "web", func(st *pb.ServiceStatus) bool {
					return harness.Generation(st, before.GetNumber()).GetState() == pb.Generation_STATE_STOPPED
				}, awaitLimit)
				s.CtlOK(t, "abort", "web")
			} else if r := s.Ctl(t, "upgrade", "-f", file); r.Code != 4 || !strings.Contains(r.Stdout, "is started again") {
				t.Errorf("an upgrade to a program that does not begin: %v", r)
			}
			answered(t, l, 100)
			st := s.Status(t, "web")
			if got := st.GetUpgrade().GetReason(); got != c.reason {
				t.Errorf("the upgrade ended with %v, want %v: %s", got, c.reason, st.GetUpgrade().GetMessage())
			}
			now := harness.Active(st)
			if now.GetRollbackOf() != before.GetNumber() || now.GetVersion() != before.GetVersion() || now.GetSlot() == before.GetSlot() {
				t.Errorf("active is %v, want the program of %v on the new slot", now, before)
			}
			if failed := harness.Generation(st, st.GetUpgrade().GetToGeneration()); failed.GetState() != pb.Generation_STATE_FAILED {
				t.Errorf("the candidate became %v, want FAILED", failed)
			}
			unharmed(t, l)
			s.awaitAlone(awaitLimit)
		})
	}
}

// As long as the new slot is not there, connections go to the old one: its program is
// not told to end before.
func TestWithoutOverlapOnASlowHost(t *testing.T) {
	s := &service{Agent: harness.StartSlow(t, 300*time.Millisecond), t: t, folder: "runtime"}
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	s.spec = strings.NewReplacer("ADDRESS", "tcp://"+s.address, "upgrade: {soak: 0s}", "upgrade: {overlap: none}").Replace(signalDrain) +
		"args: [-lock, " + t.TempDir() + "/lock, -lame-duck, 100ms]\n"
	digest := s.push("v2")
	s.Apply(t, s.yaml("v1"))
	l := s.load(rate()/2, rate()/2, nil)
	s.await(1, pb.Generation_STATE_ACTIVE)
	answered(t, l, 1)
	s.upgrade(digest, 0)
	s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
	answered(t, l, 100)
	unharmed(t, l)
}

// An old generation that does not end is cut at the limit.
func TestOverlapLimit(t *testing.T) {
	s := start(t, "bad", "args: [-mode, ignore-term]\n"+strings.Replace(signalDrain, "upgrade: {soak: 0s}", "upgrade: {overlap: none, overlap_limit: 300ms}", 1))
	pid := harness.Active(s.Status(t, "web")).GetPid()
	s.CtlOK(t, "upgrade", "web", harness.Program(t, "bad", "v2"))
	now := harness.Active(s.Status(t, "web"))
	if now.GetPid() == pid || now.GetNumber() != 2 {
		t.Errorf("active is %v, it was process %d", now, pid)
	}
}

// What needs both generations at once is refused before anything is touched.
func TestWhatNeedsOverlap(t *testing.T) {
	s := startExclusive(t, "")
	pid := harness.Active(s.Status(t, "web")).GetPid()
	for _, args := range [][]string{{"--soak", "1s"}, {"--steps", "10%"}} {
		r := s.Ctl(t, append([]string{"upgrade", "web", harness.Program(t, "runtime", "v2")}, args...)...)
		if r.Code != 1 && r.Code != 2 || !strings.Contains(r.Stderr, "overlap: none") {
			t.Errorf("%v: %v", args, r)
		}
	}
	if now := harness.Active(s.Status(t, "web")); now.GetPid() != pid {
		t.Errorf("active is %v, it was process %d", now, pid)
	}
}

// So is a lock.
func TestOwnLockIsShown(t *testing.T) {
	lock := t.TempDir() + "/lock"
	s := start(t, "runtime", signalDrain+"args: [-lock, "+lock+"]\n")
	st := s.Await(t, "web", func(st *pb.ServiceStatus) bool { return len(st.GetService().GetWarnings()) > 0 }, awaitLimit)
	if w := strings.Join(st.GetService().GetWarnings(), "; "); !strings.Contains(w, "has a lock on "+lock) || !strings.Contains(w, "overlap: none") {
		t.Errorf("the status warns of %q", w)
	}
}

// One in the generation's own directory hinders nobody.
func TestPrivateLock(t *testing.T) {
	s := start(t, "runtime", signalDrain+"args: [-lock, '{generation_dir}/lock']\n")
	for range 2 {
		s.CtlOK(t, "restart", "web")
		if w := s.Status(t, "web").GetService().GetWarnings(); len(w) > 0 {
			t.Errorf("the status warns of %q", w)
		}
	}
}

// A port that a program opens by itself is known before an upgrade fails for it.
func TestOwnPortIsShown(t *testing.T) {
	s := start(t, "bad", fmt.Sprintf("args: [-mode, own-port, -with, \"127.0.0.1:%d\"]\n", harness.FreePort(t))+signalDrain)
	st := s.Await(t, "web", func(st *pb.ServiceStatus) bool { return len(st.GetService().GetWarnings()) > 0 }, awaitLimit)
	if w := strings.Join(st.GetService().GetWarnings(), "; "); !strings.Contains(w, "by itself") || !strings.Contains(w, "overlap: none") {
		t.Errorf("the status warns of %q", w)
	}
	if r := s.Ctl(t, "upgrade", "web", harness.Program(t, "bad", "v2")); r.Code != 4 || !strings.Contains(r.Stderr, "address already in use") {
		t.Errorf("an upgrade of it: %v", r)
	}
}
