//go:build linux

package e2e

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
	"github.com/gracefleet/gracefleet/e2e/load"
)

// A program that dies is started again on its slot: what it had accepted dies
// with it, nothing else is lost.
func TestCrashOfTheActive(t *testing.T) {
	s := start(t, "plain", "sockets: [{name: http, listen: \"ADDRESS\"}]\nready: {notify: {}}\nargs: [-notify]\nrestart: {backoff: 100ms}\n")
	before := harness.Active(s.Status(t, "web")).GetPid()
	l := s.load(rate(), 0, nil)
	answered(t, l, 50)
	if err := syscall.Kill(int(before), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Await(t, "web", func(st *pb.ServiceStatus) bool {
		g := harness.Active(st)
		return g.GetPid() != 0 && g.GetPid() != before && g.GetRestarts() == 1
	}, awaitLimit)
	answered(t, l, 50)
	seen := l.Stop()
	// Accepted by the program when it was killed, and not answered yet: a
	// reset or an end of file.
	accepted := seen.Fresh.Lost[load.Reset] + seen.Fresh.Lost[load.EOF] + seen.Fresh.Lost[load.Truncated]
	t.Logf("%d requests died with the program\n%v", accepted, seen)
	if seen.Lost() != accepted || accepted > 5 {
		t.Errorf("requests were lost that the program had not accepted:\n%v", seen)
	}
	if exit := harness.Active(s.Status(t, "web")).GetExit(); exit.GetSignal() != int32(syscall.SIGKILL) {
		t.Errorf("the exit is %v, want signal 9", exit)
	}
}

// A generation that crashes again and again after its promotion is replaced by
// the one before it.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", strings.Replace(signalDrain, "upgrade:", "restart: {backoff: 10ms, max_backoff: 50ms}\nupgrade:", 1))
	good := harness.Active(s.Status(t, "web")).GetArtifact()
	s.CtlOK(t, "upgrade", "web", "-f", s.Spec(t, s.yaml("v2")+"args: [-crash-after, 50ms]\n"))
	st := s.Await(t, "web", func(st *pb.ServiceStatus) bool {
		u := st.GetUpgrade()
		return u.GetKind() == pb.Upgrade_KIND_AUTO_ROLLBACK && u.GetState() == pb.Upgrade_STATE_SUCCEEDED
	}, awaitLimit)
	if got := harness.Active(st); got.GetArtifact() != good || got.GetRollbackOf() != 1 {
		t.Errorf("generation %d is active, a rollback of %d, artifact %s; want generation 1's, %s", got.GetNumber(), got.GetRollbackOf(), got.GetArtifact(), good)
	}
	if reason := harness.Generation(st, 2).GetReason(); reason != pb.Reason_REASON_CRASH_LOOP {
		t.Errorf("generation 2 ended by %v, want a crash loop", reason)
	}
	resp, err := http.Get("http://" + s.address + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := s.Ctl(t, "history", "web"); !strings.Contains(got.Stdout, "crash") {
		t.Errorf("the history says nothing of crashes: %v", got)
	}
}

// A candidate that dies while it soaks is turned away; the old generation, which
// never stopped, takes every connection again.
func TestCrashDuringSoak(t *testing.T) {
	s := start(t, "runtime", strings.Replace(signalDrain, "soak: 0s", "soak: 1h", 1))
	l := s.load(rate(), rate(), nil)
	answered(t, l, 50)
	r := s.Ctl(t, "upgrade", "web", "-f", s.Spec(t, s.yaml("v2")+"args: [-crash-after, 200ms]\n"))
	if r.Code != 4 {
		t.Errorf("an upgrade whose candidate crashes in soak: %v", r)
	}
	up := s.awaitUpgrade(pb.Upgrade_STATE_FAILED)
	if up.GetReason() != pb.Reason_REASON_CANDIDATE_DIED {
		t.Errorf("the upgrade failed by %v: %s", up.GetReason(), up.GetMessage())
	}
	answered(t, l, 50)
	seen := l.Stop()
	for kind, n := range seen.Fresh.Lost {
		if kind != load.Reset && kind != load.EOF {
			t.Errorf("%d new connections were lost by %s", n, kind)
		}
	}
	if seen.Fresh.Total() > 5 {
		t.Errorf("more was lost than the candidate had accepted:\n%v", seen)
	}
	if got := harness.Active(s.Status(t, "web")).GetNumber(); got != 1 {
		t.Errorf("generation %d is active, want 1", got)
	}
}

// An active generation that gives its listener up, long after its promotion, is
// replaced: new connections wait for the next program instead of being refused.
func TestActiveLosesItsListener(t *testing.T) {
	for mode, says := range map[string]string{
		"close-listener":    "closed its listener on tcp://",
		"shutdown-listener": "shut its listener on tcp://",
	} {
		t.Run(mode, func(t *testing.T) {
			s := start(t, "runtime", signalDrain)
			good := harness.Active(s.Status(t, "web")).GetArtifact()
			l := s.load(200, 0, nil)
			answered(t, l, 50)
			s.CtlOK(t, "upgrade", "web", "-f", s.candidate(t, faulty{
				args: "-mode=" + mode + "=500ms", rest: "ready: {notify: {}}\nrestart: {hold: 200ms, backoff: 10ms, max_backoff: 50ms}\nupgrade: {soak: 0s}\n",
			}))
			s.Await(t, "web", func(st *pb.ServiceStatus) bool { return harness.Generation(st, 2).GetRestarts() == 1 }, awaitLimit)
			// It does so each time: in the end that is a crash loop.
			st := s.Await(t, "web", func(st *pb.ServiceStatus) bool {
				u := st.GetUpgrade()
				return u.GetKind() == pb.Upgrade_KIND_AUTO_ROLLBACK && u.GetState() == pb.Upgrade_STATE_SUCCEEDED
			}, awaitLimit)
			if got := harness.Active(st).GetArtifact(); got != good {
				t.Errorf("%s is active, want %s", got, good)
			}
			if got := s.CtlOK(t, "events", "web"); !strings.Contains(got, says) {
				t.Errorf("no event says %q:\n%s", says, got)
			}
			answered(t, l, 100)
			seen := l.Stop()
			t.Logf("%v", seen)
			// A listener that is shut down resets its queue, and refuses until it is noticed.
			if lost := seen.Fresh.Total() - died(seen); lost > 3*3 || (mode == "close-listener" && seen.Fresh.Lost[load.Refused] > 0) {
				t.Errorf("connections did not wait for the next program:\n%v", seen)
			}
		})
	}
}
