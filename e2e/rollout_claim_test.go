//go:build linux

package e2e

import (
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

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

// A stop of all upgrades outlives the agent, and stops no rollback.
func TestFreeze(t *testing.T) {
	t.Parallel()
	s := start(t, "plain", simple)
	digest := s.push("v2")
	d := s.drives("ci", "r1")
	d.soak(digest)

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
