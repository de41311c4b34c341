//go:build linux

package e2e

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// An agent that is killed after each step is found as it was, and goes on, under load.
func TestRolloutOverKilledAgents(t *testing.T) {
	s := start(t, "runtime", signalDrain)
	l := s.load(rate(), rate(), nil)
	answered(t, l, 50)
	digest := s.push("v2")
	d := s.drives("ci", "r1")
	again := func(want pb.RolloutReport_Progress) {
		t.Helper()
		before := d.said
		s.Kill9(t)
		s.Restart(t)
		if err := d.renew(); err != nil {
			t.Fatal(err)
		}
		d.is(want)
		if d.said.GetPredecessor() != 1 || d.said.GetUpgradeId() != before.GetUpgradeId() || d.said.GetRevision() < before.GetRevision() || d.said.GetEpoch() != d.epoch {
			t.Fatalf("found as\n%sand was\n%s", prototext.Format(d.said), prototext.Format(before))
		}
	}
	closed := func(generation int32) { // what is being cleared away is another test's
		t.Helper()
		s.Await(t, "web", func(st *pb.ServiceStatus) bool {
			g := harness.Generation(st, generation)
			return g.GetState() == pb.Generation_STATE_STOPPED && g.GetSlot() == 0
		}, awaitLimit)
	}
	d.claim(to(digest), nil)
	again(pb.RolloutReport_PROGRESS_PUSHED)
	d.advanceOverADeath(pb.AdvanceRolloutRequest_STEP_UPGRADE, pb.RolloutReport_PROGRESS_SOAKING)
	again(pb.RolloutReport_PROGRESS_SOAKING)
	d.advance(pb.AdvanceRolloutRequest_STEP_UPGRADE)
	if got := s.Status(t, "web"); len(got.GetGenerations()) != 2 {
		t.Fatalf("asked twice, it began %d generations", len(got.GetGenerations())-1)
	}
	d.advance(pb.AdvanceRolloutRequest_STEP_PROMOTE)
	d.is(pb.RolloutReport_PROGRESS_UPGRADED)
	closed(1)
	again(pb.RolloutReport_PROGRESS_UPGRADED)
	d.advanceOverADeath(pb.AdvanceRolloutRequest_STEP_UNDO, pb.RolloutReport_PROGRESS_ROLLED_BACK)
	closed(2)
	again(pb.RolloutReport_PROGRESS_ROLLED_BACK)
	d.release("rolled-back")
	s.Kill9(t)
	s.Restart(t)
	got, err := s.rollouts().GetRollout(t.Context(), &pb.GetRolloutRequest{Service: "web", RolloutId: "r1"}, grpc.WaitForReady(true))
	if err != nil || got.GetReport().GetEnding() != "rolled-back" || string(got.GetSpec()) != "all of r1" {
		t.Errorf("given up as %v, %v", got, err)
	}
	answered(t, l, 50)
	unharmed(t, l)
}

// What becomes of a soak when its driver is gone is what the claim says.
func TestOrphanedRollouts(t *testing.T) {
	for name, c := range map[string]struct {
		policy pb.OnOrphan
		soak   time.Duration
		want   pb.RolloutReport_Progress
		active int32
	}{
		"hold ends by its timer":     {pb.OnOrphan_ON_ORPHAN_HOLD, 0, pb.RolloutReport_PROGRESS_UPGRADED, 2},
		"hold waits for its timer":   {pb.OnOrphan_ON_ORPHAN_UNSPECIFIED, time.Hour, pb.RolloutReport_PROGRESS_SOAKING, 2},
		"finish promotes":            {pb.OnOrphan_ON_ORPHAN_FINISH, time.Hour, pb.RolloutReport_PROGRESS_UPGRADED, 2},
		"rollback gives it all back": {pb.OnOrphan_ON_ORPHAN_ROLLBACK, time.Hour, pb.RolloutReport_PROGRESS_PUSHED, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, "plain", simple)
			d := s.drives("ci", "r1")
			change := to(s.push("v2"))
			change.Soak = durationpb.New(c.soak)
			d.claim(change, func(r *pb.ClaimRolloutRequest) {
				r.OnOrphan, r.Lease = c.policy, durationpb.New(time.Second)
			})
			d.advance(pb.AdvanceRolloutRequest_STEP_UPGRADE)
			d.reach(pb.RolloutReport_PROGRESS_SOAKING)
			// A new agent gives the lease its whole length.
			s.Kill9(t)
			s.Restart(t)
			if err := d.renew(); err != nil {
				t.Fatal(err)
			}
			d.is(pb.RolloutReport_PROGRESS_SOAKING)
			got := s.awaitReport("r1", func(r *pb.RolloutReport) bool { return r.GetLeaseEndTime() == nil && r.GetProgress() == c.want })
			if st := s.Status(t, "web"); st.GetService().GetActiveGeneration() != c.active {
				t.Errorf("generation %d is active, want %d", st.GetService().GetActiveGeneration(), c.active)
			}
			if c.policy != pb.OnOrphan_ON_ORPHAN_ROLLBACK {
				return
			}
			if got.GetReason() != pb.Reason_REASON_ORPHANED || got.GetUpgradeId() != "" {
				t.Errorf("given back as\n%s", prototext.Format(got))
			}
			d.advance(pb.AdvanceRolloutRequest_STEP_UPGRADE) // its driver has come back
			d.reach(pb.RolloutReport_PROGRESS_SOAKING)
		})
	}
}

// An upgrade that an agent had only just begun as it died is carried out by the next.
func TestAgentDiesAsARolloutBegins(t *testing.T) {
	s := start(t, "plain", simple)
	digest := s.push("v2")
	for i := range during() {
		d := s.drives("ci", fmt.Sprint("r", i))
		d.claim(to(digest), nil)
		d.advanceOverADeath(pb.AdvanceRolloutRequest_STEP_UPGRADE, pb.RolloutReport_PROGRESS_SOAKING)
		d.advance(pb.AdvanceRolloutRequest_STEP_UNDO)
		d.release("over")
		s.awaitAlone(awaitLimit)
	}
	s.upgrade(digest, 0)
	s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
}

// advanceOverADeath has the agent die as it has answered, and asks the next one for the
// same step, which goes on with what was begun.
func (d *driver) advanceOverADeath(step pb.AdvanceRolloutRequest_Step, want pb.RolloutReport_Progress) {
	d.t.Helper()
	d.advance(step)
	begun := d.said.GetUpgradeId()
	d.Kill9(d.t)
	d.Restart(d.t)
	d.advance(step)
	if d.reach(want); d.said.GetUpgradeId() != begun {
		d.t.Fatalf("upgrade %s became %s", begun, d.said.GetUpgradeId())
	}
}
