//go:build linux

package e2e

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gracefleet/gracefleet/api"
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

// Exactly one driver at a time: whoever slept while it was overtaken finds every door
// shut, and changes nothing.
func TestRolloutTakeOver(t *testing.T) {
	t.Parallel()
	s := start(t, "plain", simple)
	digest := s.push("v2")
	first, second, other := s.drives("ci-1", "r1"), s.drives("ci-2", "r1"), s.drives("ci-3", "r2")
	first.claim(to(digest), nil)
	first.claim(to(digest), nil) // an answer may be lost
	if first.epoch != 1 {
		t.Errorf("the epoch of who has the lease already became %d", first.epoch)
	}
	held := refused(t, second.tryClaim(nil, nil), codes.Aborted, pb.Reason_REASON_ROLLOUT_DRIVEN)
	if held["driver"] != "ci-1" || held["time"] == "" {
		t.Errorf("the second is told %v", held)
	}
	elsewhere := refused(t, other.tryClaim(to(digest), nil), codes.Aborted, pb.Reason_REASON_ROLLOUT_CLAIMED)
	if elsewhere["rollout"] != "r1" || elsewhere["spec_hash"] != "hash-of-r1" || elsewhere["driver"] != "ci-1" || elsewhere["actor"] == "" || elsewhere["time"] == "" {
		t.Errorf("another rollout is told %v", elsewhere)
	}
	refused(t, second.tryClaim(nil, func(r *pb.ClaimRolloutRequest) { r.TakeOver, r.Reason = true, " " }), codes.InvalidArgument, pb.Reason_REASON_INVALID)
	second.claim(nil, func(r *pb.ClaimRolloutRequest) { r.TakeOver, r.Spec = true, nil })
	if second.epoch != 2 {
		t.Errorf("the second has epoch %d", second.epoch)
	}
	_, err := s.rollouts().ReleaseRollout(t.Context(), &pb.ReleaseRolloutRequest{Driver: first.by()})
	for name, err := range map[string]error{
		"renew": first.renew(), "upgrade": first.tryAdvance(pb.AdvanceRolloutRequest_STEP_UPGRADE),
		"undo": first.tryAdvance(pb.AdvanceRolloutRequest_STEP_UNDO), "release": err,
	} {
		if told := refused(t, err, codes.Aborted, pb.Reason_REASON_ROLLOUT_OVERTAKEN); told["driver"] != "ci-2" {
			t.Errorf("%s: the first is told %v", name, told)
		}
	}
	if st := s.Status(t, "web"); len(st.GetGenerations()) != 1 {
		t.Errorf("a stale driver began %v", st.GetGenerations())
	}
	refused(t, other.renew(), codes.NotFound, pb.Reason_REASON_ROLLOUT_NOT_FOUND)

	// Who is there no more needs no reason to be followed.
	brief := func(r *pb.ClaimRolloutRequest) { r.Lease = durationpb.New(time.Second) }
	second.claim(nil, brief)
	s.awaitReport("r1", func(r *pb.RolloutReport) bool { return r.GetLeaseEndTime() == nil })
	first.claim(nil, brief)
	if first.epoch != 3 {
		t.Errorf("after the lease the epoch is %d", first.epoch)
	}
	s.Kill9(t)
	s.Restart(t)
	if err := second.renew(); api.ReasonOf(err) != pb.Reason_REASON_ROLLOUT_OVERTAKEN {
		t.Errorf("the next agent has forgotten the epoch: %v", err)
	}
	if err := first.renew(); err != nil {
		t.Error(err)
	}
}

// While a rollout has a service, nobody else changes it; going back is always possible.
func TestARolloutKeepsOthersAway(t *testing.T) {
	t.Parallel()
	s := start(t, "plain", simple)
	digest := s.push("v2")
	d := s.drives("ci", "r1")
	d.claim(to(digest), nil)
	_, upgrade := s.upgrades().StartUpgrade(t.Context(), &pb.StartUpgradeRequest{Service: "web", Artifact: digest})
	_, restart := s.upgrades().StartUpgrade(t.Context(), &pb.StartUpgradeRequest{Service: "web", Restart: true})
	services := pb.NewSupervisorServiceClient(s.Client(t))
	_, remove := services.DeleteService(t.Context(), &pb.DeleteServiceRequest{Name: "web"})
	_, declare := services.ApplyService(t.Context(), &pb.ApplyServiceRequest{Name: "web", Spec: s.Status(t, "web").GetService().GetSpec()})
	for name, err := range map[string]error{"upgrade": upgrade, "restart": restart, "delete": remove, "apply": declare} {
		if told := refused(t, err, codes.Aborted, pb.Reason_REASON_ROLLOUT_CLAIMED); told["rollout"] != "r1" || told["driver"] != "ci" {
			t.Errorf("%s: told %v", name, told)
		}
	}
	_, err := pb.NewArtifactServiceClient(s.Client(t)).DeleteArtifact(t.Context(), &pb.DeleteArtifactRequest{Digest: digest})
	refused(t, err, codes.FailedPrecondition, pb.Reason_REASON_ARTIFACT_IN_USE)
	refused(t, d.tryAdvance(pb.AdvanceRolloutRequest_STEP_PROMOTE), codes.FailedPrecondition, pb.Reason_REASON_WRONG_STATE)

	// An operator of this host ends it here: the host has failed.
	d.advance(pb.AdvanceRolloutRequest_STEP_UPGRADE)
	d.reach(pb.RolloutReport_PROGRESS_SOAKING)
	_, err = s.rollouts().ReleaseRollout(t.Context(), &pb.ReleaseRolloutRequest{Driver: d.by()})
	refused(t, err, codes.FailedPrecondition, pb.Reason_REASON_UPGRADE_IN_PROGRESS)
	s.CtlOK(t, "abort", "web")
	if got := d.reach(pb.RolloutReport_PROGRESS_FAILED); got.GetReason() != pb.Reason_REASON_ABORTED {
		t.Errorf("it failed for %v", got.GetReason())
	}
	d.release("failed")

	// Once it is given up, they may; and then no rollout may begin.
	s.awaitAlone(awaitLimit)
	up := s.upgrade(digest, time.Hour)
	s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
	other := s.drives("ci", "r2")
	if told := refused(t, other.tryClaim(to(digest), nil), codes.Aborted, pb.Reason_REASON_UPGRADE_IN_PROGRESS); told["upgrade"] != up.GetId() || told["actor"] == "" {
		t.Errorf("told %v", told)
	}
	s.CtlOK(t, "promote", "web")
	other.claim(to(digest), nil)
	other.is(pb.RolloutReport_PROGRESS_UNCHANGED)
	other.advance(pb.AdvanceRolloutRequest_STEP_UPGRADE)
	other.is(pb.RolloutReport_PROGRESS_UNCHANGED)
}

// A driver finds a generation bad, or operators roll it back by hand: the host says
// which.
func TestARolloutIsTurnedAway(t *testing.T) {
	t.Parallel()
	s := start(t, "plain", simple)
	digest := s.push("v2")
	d := s.drives("ci", "r1")
	d.claim(to(digest), nil)
	d.advance(pb.AdvanceRolloutRequest_STEP_UPGRADE)
	d.reach(pb.RolloutReport_PROGRESS_SOAKING)
	d.advance(pb.AdvanceRolloutRequest_STEP_REJECT)
	d.is(pb.RolloutReport_PROGRESS_FAILED)
	if d.said.GetReason() != pb.Reason_REASON_CHECK_FAILED {
		t.Errorf("turned away as\n%s", prototext.Format(d.said))
	}
	d.advance(pb.AdvanceRolloutRequest_STEP_UNDO)
	d.is(pb.RolloutReport_PROGRESS_FAILED) // it stays the one to look at
	d.release("failed")

	byHand := s.drives("ci", "r2")
	byHand.claim(to(digest), nil)
	byHand.advance(pb.AdvanceRolloutRequest_STEP_UPGRADE)
	byHand.reach(pb.RolloutReport_PROGRESS_SOAKING)
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

	digest := digestOf(t, harness.Program(t, "plain", "v2"))
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
	d.claim(to(s.push("v2")), nil)
	d.advance(pb.AdvanceRolloutRequest_STEP_UPGRADE)
	d.reach(pb.RolloutReport_PROGRESS_SOAKING)
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

// A stop of all upgrades outlives the agent, and stops no rollback.
func TestFreeze(t *testing.T) {
	t.Parallel()
	s := start(t, "plain", simple)
	digest := s.push("v2")
	d := s.drives("ci", "r1")
	d.claim(to(digest), nil)
	d.advance(pb.AdvanceRolloutRequest_STEP_UPGRADE)
	d.reach(pb.RolloutReport_PROGRESS_SOAKING)

	_, err := s.rollouts().FreezeHost(t.Context(), &pb.FreezeHostRequest{})
	refused(t, err, codes.InvalidArgument, pb.Reason_REASON_INVALID)
	for _, reason := range []string{"black friday", "once more"} {
		got, err := s.rollouts().FreezeHost(t.Context(), &pb.FreezeHostRequest{Reason: reason})
		if err != nil || got.GetFreeze().GetReason() != "black friday" {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	s.Kill9(t)
	s.Restart(t)
	info, err := pb.NewAgentServiceClient(s.Client(t)).GetAgentInfo(t.Context(), &pb.GetAgentInfoRequest{}, grpc.WaitForReady(true))
	if err != nil || info.GetAgent().GetFreeze().GetReason() != "black friday" || info.GetAgent().GetFreeze().GetActor() == "" {
		t.Errorf("the next agent says %v, %v", info.GetAgent().GetFreeze(), err)
	}
	d.advance(pb.AdvanceRolloutRequest_STEP_PROMOTE) // what is in progress goes on
	d.advance(pb.AdvanceRolloutRequest_STEP_UNDO)
	d.reach(pb.RolloutReport_PROGRESS_ROLLED_BACK)
	d.release("rolled-back")

	next := s.drives("ci", "r2")
	_, restart := s.upgrades().StartUpgrade(t.Context(), &pb.StartUpgradeRequest{Service: "web", Restart: true})
	for name, err := range map[string]error{"restart": restart, "claim": next.tryClaim(to(digest), nil)} {
		if told := refused(t, err, codes.FailedPrecondition, pb.Reason_REASON_FROZEN); told["reason"] != "black friday" || told["actor"] == "" || told["time"] == "" {
			t.Errorf("%s: told %v", name, told)
		}
	}
	thawed, err := s.rollouts().UnfreezeHost(t.Context(), &pb.UnfreezeHostRequest{Reason: "it is over"})
	if err != nil || thawed.GetFreeze().GetReason() != "black friday" {
		t.Errorf("got %v, %v", thawed, err)
	}
	next.claim(to(digest), nil)
	_, err = s.rollouts().FreezeHost(t.Context(), &pb.FreezeHostRequest{Reason: "again"})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, next.tryAdvance(pb.AdvanceRolloutRequest_STEP_UPGRADE), codes.FailedPrecondition, pb.Reason_REASON_FROZEN)
	if err := next.renew(); err != nil || next.said.GetProgress() != pb.RolloutReport_PROGRESS_PUSHED {
		t.Errorf("frozen it is %v, %v", next.said.GetProgress(), err)
	}
}

// A driver that leaves says so, and nobody waits for it.
func TestALeaseIsGivenUp(t *testing.T) {
	t.Parallel()
	s := start(t, "plain", simple)
	first, second := s.drives("laptop", "r1"), s.drives("desk", "r1")
	first.claim(nil, nil)
	leave := &pb.RenewRolloutRequest{Driver: first.by(), End: true}
	for range 2 { // to ask again is harmless
		got, err := s.rollouts().RenewRollout(t.Context(), leave)
		if err != nil || got.GetReport().GetLeaseEndTime() != nil || got.GetReport().GetReleaseTime() != nil {
			t.Errorf("got %v, %v", got, err)
		}
	}
	word, err := s.rollouts().ControlRollout(t.Context(), &pb.ControlRolloutRequest{Service: "web", RolloutId: "r1", Action: pb.ControlRolloutRequest_ACTION_PAUSE, Reason: "is anybody there?"})
	if err != nil || word.GetDriven() {
		t.Errorf("somebody seems to hear %v, %v", word, err)
	}
	second.claim(nil, nil)
	_, err = s.rollouts().RenewRollout(t.Context(), leave)
	refused(t, err, codes.Aborted, pb.Reason_REASON_ROLLOUT_OVERTAKEN)
	if err := second.renew(); err != nil || second.said.GetLeaseEndTime() == nil {
		t.Errorf("who came later has lost the lease: %v, %v", second.said, err)
	}
}

// What operators say reaches the driver with its next renewal, and outlives the agent.
func TestOperatorsControlARollout(t *testing.T) {
	t.Parallel()
	s := start(t, "plain", simple)
	d := s.drives("ci", "r1")
	d.claim(nil, func(r *pb.ClaimRolloutRequest) { r.Lease = durationpb.New(time.Second) })
	say := func(r *pb.ControlRolloutRequest) *pb.ControlRolloutResponse {
		t.Helper()
		r.Service, r.RolloutId, r.Reason = "web", "r1", "as they like"
		got, err := s.rollouts().ControlRollout(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := say(&pb.ControlRolloutRequest{Action: pb.ControlRolloutRequest_ACTION_PAUSE}); !got.GetDriven() {
		t.Error("nobody seems to hear it")
	}
	if err := d.renew(); err != nil || !d.said.GetControl().GetPaused() || d.said.GetControl().GetActor() == "" {
		t.Errorf("the driver hears %v, %v", d.said.GetControl(), err)
	}
	s.Kill9(t)
	s.Restart(t)
	s.awaitReport("r1", func(r *pb.RolloutReport) bool { return r.GetLeaseEndTime() == nil })
	if got := say(&pb.ControlRolloutRequest{Action: pb.ControlRolloutRequest_ACTION_PROMOTE, Wave: 2}); got.GetDriven() || got.GetReport().GetControl().GetPromotedWave() != 2 || !got.GetReport().GetControl().GetPaused() {
		t.Errorf("got %v", got)
	}
	list, err := s.rollouts().ListRollouts(t.Context(), &pb.ListRolloutsRequest{})
	if err != nil || len(list.GetReports()) != 1 || list.GetReports()[0].GetControl().GetRevision() != 2 {
		t.Errorf("listed are %v, %v", list, err)
	}
}
