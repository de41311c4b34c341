//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// during is how often a way back is measured.
func during() int {
	if full {
		return 10
	}
	return 3
}

func TestAbortFromSoak(t *testing.T) {
	s := start(t, "runtime", signalDrain)
	digest := s.push("v2")
	l := s.load(rate(), rate(), nil)
	answered(t, l, 100)
	var last, calls []time.Duration
	for range during() {
		up := s.upgrade(digest, time.Hour)
		s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
		answered(t, l, 50)
		if got := harness.Active(s.Status(t, "web")).GetNumber(); got != up.GetToGeneration() {
			t.Fatalf("while soaking generation %d is active, want %d", got, up.GetToGeneration())
		}
		called := time.Now()
		if _, err := s.upgrades().AbortUpgrade(t.Context(), &pb.AbortUpgradeRequest{Service: "web"}); err != nil {
			t.Fatal(err)
		}
		calls = append(calls, time.Since(called))
		if got := harness.Active(s.Status(t, "web")).GetNumber(); got != 1 {
			t.Errorf("after the abort generation %d is active, want 1", got)
		}
		answered(t, l, 50)
		seen := l.Snapshot().Generations[fmt.Sprint(up.GetToGeneration())]
		last = append(last, seen.LastFreshConnect.Sub(called))
		s.awaitAlone(awaitLimit)
	}
	seen := unharmed(t, l)
	t.Logf("abort: the last new connection to the aborted generation came %v after the call (each: %v); the call took %v\n%v",
		median(last), last, median(calls), seen)
}

func TestAbortFromCanary(t *testing.T) {
	s := start(t, "plain", patientDrain)
	digest := s.push("v2")
	l := s.load(rate(), rate(), nil)
	answered(t, l, 50)
	_, err := s.upgrades().StartUpgrade(t.Context(), &pb.StartUpgradeRequest{Service: "web", Artifact: digest, Steps: manualSteps(5000)})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitUpgrade(pb.Upgrade_STATE_CANARY)
	answered(t, l, 100)
	s.CtlOK(t, "abort", "web", "-m", "a hunch")
	if up := s.Status(t, "web").GetUpgrade(); up.GetState() != pb.Upgrade_STATE_ABORTED || up.GetReason() != pb.Reason_REASON_ABORTED {
		t.Errorf("the upgrade is %v", up)
	}
	aborted := time.Now()
	answered(t, l, 100)
	seen := unharmed(t, l)
	s.awaitAlone(5 * time.Second)
	if seen.Generations["2"].Fresh == 0 {
		t.Errorf("half of the new connections were to reach the candidate:\n%v", seen)
	}
	if late := seen.Generations["2"].LastFreshConnect.Sub(aborted); late > 0 {
		t.Errorf("a new connection reached the aborted candidate %v after the abort", late)
	}
	if r := s.Ctl(t, "abort", "web"); r.Code != 1 || !strings.Contains(r.Stderr, "no upgrade in progress") {
		t.Errorf("an abort of nothing: %v", r)
	}
}

// A second upgrade is refused, and names the first.
func TestOneUpgradeAtATime(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain)
	first := s.upgrade(s.push("v2"), time.Hour)
	s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
	if r := s.Ctl(t, "upgrade", "web", harness.Program(t, "runtime", "v3")); r.Code != 7 || !strings.Contains(r.Stderr, first.GetId()) {
		t.Errorf("a second upgrade beside %s: %v", first.GetId(), r)
	}
	s.CtlOK(t, "promote", "web")
	s.awaitAlone(awaitLimit)
	if r := s.Ctl(t, "abort", "web"); r.Code != 1 || !strings.Contains(r.Stderr, "rollback") {
		t.Errorf("an abort after promotion: %v", r)
	}
}

// The same request id is one upgrade, however often and at once it is sent.
func TestRepeatedRequest(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain)
	req := &pb.StartUpgradeRequest{Service: "web", Artifact: s.push("v2"), RequestId: "again"}
	const times = 200
	ids := make(chan string, times)
	client := s.upgrades()
	var calls sync.WaitGroup
	for range times {
		calls.Go(func() {
			answer, err := client.StartUpgrade(t.Context(), req)
			if err != nil {
				t.Error(err)
			}
			ids <- answer.GetUpgrade().GetId()
		})
	}
	calls.Wait()
	close(ids)
	first := <-ids
	for id := range ids {
		if id != first {
			t.Fatalf("one request id started upgrades %s and %s", first, id)
		}
	}
	s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
	if got := harness.Active(s.Status(t, "web")).GetNumber(); got != 2 {
		t.Errorf("generation %d is active, want 2", got)
	}
}
