//go:build linux

package e2e

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/prototext"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// The whole way of a host through a rollout, and back, under load. The predecessor is
// returned to although it has long ended.
func TestRolloutOfAHost(t *testing.T) {
	s := start(t, "runtime", signalDrain)
	l := s.load(rate(), rate(), nil)
	answered(t, l, 50)
	d := s.drives("ci", "r1")
	digest := s.push("v2")
	d.claim(to(digest), nil)
	d.is(pb.RolloutReport_PROGRESS_PUSHED)
	if d.said.GetPredecessor() != 1 || d.said.GetEpoch() != 1 || d.said.GetLeaseEndTime() == nil || d.said.GetActor() == "" || d.said.GetSpecHash() != "hash-of-r1" {
		t.Errorf("claimed as\n%s", prototext.Format(d.said))
	}
	d.advance(pb.AdvanceRolloutRequest_STEP_UPGRADE)
	d.reach(pb.RolloutReport_PROGRESS_SOAKING)
	d.advance(pb.AdvanceRolloutRequest_STEP_UPGRADE) // again, which is harmless
	if u := s.Status(t, "web").GetUpgrade(); u.GetRolloutId() != "r1" || u.GetId() != d.said.GetUpgradeId() || d.said.GetGeneration() != 2 || d.said.GetWeight() != 10_000 {
		t.Errorf("the upgrade is %v, the host says\n%s", u, prototext.Format(d.said))
	}
	answered(t, l, 50)
	d.advance(pb.AdvanceRolloutRequest_STEP_PROMOTE)
	d.is(pb.RolloutReport_PROGRESS_UPGRADED)
	s.awaitAlone(awaitLimit)
	answered(t, l, 50)
	d.advance(pb.AdvanceRolloutRequest_STEP_UNDO)
	d.reach(pb.RolloutReport_PROGRESS_ROLLED_BACK)
	d.advance(pb.AdvanceRolloutRequest_STEP_UPGRADE) // nothing begins there any more
	d.is(pb.RolloutReport_PROGRESS_ROLLED_BACK)
	if g := harness.Active(s.Status(t, "web")); g.GetRollbackOf() != 1 {
		t.Errorf("generation %d is active, a rollback of %d: want generation 1's", g.GetNumber(), g.GetRollbackOf())
	}
	d.release("rolled-back")
	got, err := d.rollouts().GetRollout(t.Context(), &pb.GetRolloutRequest{Service: "web"})
	if err != nil || got.GetReport().GetEnding() != "rolled-back" || got.GetReport().GetReleaseTime() == nil || !bytes.Equal(got.GetSpec(), []byte("all of r1")) {
		t.Errorf("given up as %v, %v", got, err)
	}
	answered(t, l, 50)
	unharmed(t, l)
}

// A driver finds a generation bad, or operators roll it back by hand: the host says
// which.
func TestARolloutIsTurnedAway(t *testing.T) {
	t.Parallel()
	s := start(t, "plain", simple)
	digest := s.push("v2")
	d := s.drives("ci", "r1")
	d.soak(digest)
	d.advance(pb.AdvanceRolloutRequest_STEP_REJECT)
	d.is(pb.RolloutReport_PROGRESS_FAILED)
	if d.said.GetReason() != pb.Reason_REASON_CHECK_FAILED {
		t.Errorf("turned away as\n%s", prototext.Format(d.said))
	}
	d.advance(pb.AdvanceRolloutRequest_STEP_UNDO)
	d.is(pb.RolloutReport_PROGRESS_FAILED) // it stays the one to look at
	d.release("failed")

	byHand := s.drives("ci", "r2")
	byHand.soak(digest)
	byHand.advance(pb.AdvanceRolloutRequest_STEP_PROMOTE)
	s.CtlOK(t, "rollback", "web")
	byHand.reach(pb.RolloutReport_PROGRESS_ROLLED_BACK)
	byHand.release("rolled-back")

	early := s.drives("ci", "r3")
	early.claim(to(digest), nil)
	early.advance(pb.AdvanceRolloutRequest_STEP_UNDO) // nothing had begun
	early.is(pb.RolloutReport_PROGRESS_ROLLED_BACK)
}

// What the change needs may come after the claim, and a host that only decides between
// operators needs nothing.
func TestARolloutAwaitsItsArtifact(t *testing.T) {
	t.Parallel()
	s := start(t, "plain", simple)
	gate := s.drives("ci", "gate")
	gate.claim(nil, nil)
	gate.is(pb.RolloutReport_PROGRESS_CLAIMED)
	refused(t, gate.tryAdvance(pb.AdvanceRolloutRequest_STEP_UPGRADE), codes.FailedPrecondition, pb.Reason_REASON_WRONG_STATE)
	gate.release("")

	digest := harness.Digest(t, harness.Program(t, "plain", "v2"))
	d := s.drives("ci", "r1")
	d.claim(to(digest), nil)
	d.is(pb.RolloutReport_PROGRESS_CLAIMED)
	if m := d.said.GetMissing(); len(m) != 1 || m[0] != digest {
		t.Errorf("missing is %v, want %s", m, digest)
	}
	refused(t, d.tryAdvance(pb.AdvanceRolloutRequest_STEP_UPGRADE), codes.NotFound, pb.Reason_REASON_ARTIFACT_NOT_FOUND)
	s.push("v2")
	d.reach(pb.RolloutReport_PROGRESS_PUSHED)
	if len(d.said.GetMissing()) > 0 {
		t.Errorf("still missing: %v", d.said.GetMissing())
	}
	_, err := s.rollouts().ClaimRollout(t.Context(), &pb.ClaimRolloutRequest{Service: "api", RolloutId: "r1", SpecHash: "h", Spec: []byte("s"), Driver: "ci"})
	refused(t, err, codes.NotFound, pb.Reason_REASON_SERVICE_NOT_FOUND)
}

// A restart and a rollback are rollouts like any other; going back from a rollback is
// going forward again.
func TestRolloutsOfOtherKinds(t *testing.T) {
	t.Parallel()
	s := start(t, "plain", simple)
	restart := s.drives("ci", "r1")
	restart.claim(&pb.RolloutChange{Kind: pb.RolloutChange_KIND_RESTART}, nil)
	restart.advance(pb.AdvanceRolloutRequest_STEP_UPGRADE)
	restart.reach(pb.RolloutReport_PROGRESS_UPGRADED)
	if u := s.Status(t, "web").GetUpgrade(); u.GetKind() != pb.Upgrade_KIND_RESTART {
		t.Errorf("it was a %v", u.GetKind())
	}
	restart.release("succeeded")

	first := harness.Active(s.Status(t, "web")).GetArtifact()
	s.awaitAlone(awaitLimit)
	s.upgrade(s.push("v2"), 0)
	s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
	s.awaitAlone(awaitLimit)
	before := harness.Active(s.Status(t, "web"))
	back := s.drives("ci", "r2")
	refused(t, back.tryClaim(&pb.RolloutChange{Kind: pb.RolloutChange_KIND_ROLLBACK, Version: "v9"}, nil), codes.FailedPrecondition, pb.Reason_REASON_NO_ROLLBACK_TARGET)
	back.claim(&pb.RolloutChange{Kind: pb.RolloutChange_KIND_ROLLBACK, Artifact: first}, nil)
	back.advance(pb.AdvanceRolloutRequest_STEP_UPGRADE)
	back.reach(pb.RolloutReport_PROGRESS_UPGRADED)
	if got := harness.Active(s.Status(t, "web")).GetArtifact(); got != first {
		t.Errorf("%s is active, want %s", got, first)
	}
	back.advance(pb.AdvanceRolloutRequest_STEP_UNDO)
	back.reach(pb.RolloutReport_PROGRESS_ROLLED_BACK)
	if got := harness.Active(s.Status(t, "web")); got.GetArtifact() != before.GetArtifact() {
		t.Errorf("%s is active, want that of before, %s", got.GetArtifact(), before.GetArtifact())
	}
}

// A rollout that has ended is claimed once more to be undone, whatever it was given up
// as; what came after it is not taken back with it.
func TestAnEndedRolloutIsUndone(t *testing.T) {
	t.Parallel()
	s := start(t, "plain", simple)
	d := s.drives("ci", "r1")
	d.soak(s.push("v2"))
	d.advance(pb.AdvanceRolloutRequest_STEP_PROMOTE)
	d.release("succeeded")

	late := s.drives("ops", "r1")
	late.claim(nil, func(r *pb.ClaimRolloutRequest) { r.Spec = nil })
	late.is(pb.RolloutReport_PROGRESS_UPGRADED)
	if late.epoch <= d.epoch {
		t.Errorf("the epoch is %d after %d", late.epoch, d.epoch)
	}
	late.release("succeeded")
	s.awaitAlone(awaitLimit)
	s.upgrade(s.push("v3"), 0)
	s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
	late.claim(nil, nil)
	late.advance(pb.AdvanceRolloutRequest_STEP_UNDO)
	late.is(pb.RolloutReport_PROGRESS_STUCK)
	if got := s.Status(t, "web").GetService().GetActiveGeneration(); got != 3 {
		t.Errorf("generation %d is active: what came later was taken back", got)
	}
}
