package server

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/claim"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

func claimOf(change func(*pb.ClaimRolloutRequest)) *pb.ClaimRolloutRequest {
	r := &pb.ClaimRolloutRequest{Service: "web", RolloutId: "r1", SpecHash: "sha256:x", Spec: []byte("all"), Driver: "ci on build-7"}
	if change != nil {
		change(r)
	}
	return r
}

func TestClaimRollout(t *testing.T) {
	h := newHost(t)
	left := 3
	h.supervisor.rollout = supervisor.Rollout{
		Claim:   claim.Claim{Rollout: "r1", Progress: claim.Soaking, Epoch: 4, Control: claim.Control{Paused: true, Revision: 1}},
		Service: "web", Left: &left, LeaseEnd: time.Unix(1000, 0),
	}
	got, err := h.rollouts().ClaimRollout(limited(t), claimOf(func(r *pb.ClaimRolloutRequest) {
		r.Change = &pb.RolloutChange{Kind: pb.RolloutChange_KIND_UPGRADE, Artifact: digestOf(nil), Soak: durationpb.New(0), HoldSoak: true}
		r.Epoch = maxEpoch + 1
	}))
	if err != nil {
		t.Fatal(err)
	}
	if r := got.GetReport(); r.GetProgress() != pb.RolloutReport_PROGRESS_SOAKING || r.GetEpoch() != 4 || r.GetConnectionsLeft() != 3 || !r.GetControl().GetPaused() || r.GetLeaseEndTime().GetSeconds() != 1000 || string(got.GetSpec()) != "all of it" {
		t.Errorf("got %v", got)
	}
	asked := h.supervisor.last().(supervisor.ClaimRequest)
	if asked.Lease != claim.DefaultLease || asked.OnOrphan != claim.Hold || asked.Actor == "" || asked.Driver != "ci on build-7" || asked.Epoch != maxEpoch {
		t.Errorf("asked %+v", asked)
	}
	if c := asked.Change; c.Kind != claim.Upgrade || !c.HoldSoak || c.Soak == nil || *c.Soak != 0 || c.Hold != nil || c.Spec != nil {
		t.Errorf("the change is %+v", c)
	}
}

func TestWrongClaims(t *testing.T) {
	h := newHost(t)
	change := func(c *pb.RolloutChange) func(*pb.ClaimRolloutRequest) {
		return func(r *pb.ClaimRolloutRequest) { r.Change = c }
	}
	for name, c := range map[string]struct {
		field string
		wrong func(*pb.ClaimRolloutRequest)
	}{
		"no service":        {"service", func(r *pb.ClaimRolloutRequest) { r.Service = "" }},
		"no rollout":        {"rollout_id", func(r *pb.ClaimRolloutRequest) { r.RolloutId = "" }},
		"an odd rollout":    {"rollout_id", func(r *pb.ClaimRolloutRequest) { r.RolloutId = "a b" }},
		"a long rollout":    {"rollout_id", func(r *pb.ClaimRolloutRequest) { r.RolloutId = strings.Repeat("r", 129) }},
		"no hash":           {"spec_hash", func(r *pb.ClaimRolloutRequest) { r.SpecHash = "" }},
		"a large spec":      {"spec", func(r *pb.ClaimRolloutRequest) { r.Spec = bytes.Repeat([]byte("x"), maxRolloutSpec+1) }},
		"no driver":         {"driver", func(r *pb.ClaimRolloutRequest) { r.Driver = "" }},
		"an odd driver":     {"driver", func(r *pb.ClaimRolloutRequest) { r.Driver = "a\nb" }},
		"a short lease":     {"lease", func(r *pb.ClaimRolloutRequest) { r.Lease = durationpb.New(time.Millisecond) }},
		"a long lease":      {"lease", func(r *pb.ClaimRolloutRequest) { r.Lease = durationpb.New(claim.MaxLease + 1) }},
		"a negative lease":  {"lease", func(r *pb.ClaimRolloutRequest) { r.Lease = durationpb.New(-time.Second) }},
		"a negative epoch":  {"epoch", func(r *pb.ClaimRolloutRequest) { r.Epoch = -1 }},
		"an unknown policy": {"on_orphan", func(r *pb.ClaimRolloutRequest) { r.OnOrphan = 99 }},
		"taken without why": {"reason", func(r *pb.ClaimRolloutRequest) { r.TakeOver = true }},
		"a long reason":     {"reason", func(r *pb.ClaimRolloutRequest) { r.Reason = strings.Repeat("x", maxReason+1) }},
		"no kind":           {"change.kind", change(&pb.RolloutChange{})},
		"an unknown kind":   {"change.kind", change(&pb.RolloutChange{Kind: 257})},
		"a bad artifact":    {"change.artifact", change(&pb.RolloutChange{Kind: 1, Artifact: "web"})},
		"what to restart":   {"change.artifact", change(&pb.RolloutChange{Kind: 2, Artifact: digestOf(nil)})},
		"a version":         {"change.version", change(&pb.RolloutChange{Kind: 1, Version: "v1"})},
		"a spec to go back": {"change.spec", change(&pb.RolloutChange{Kind: 3, Spec: &pb.ServiceSpec{Artifact: digestOf(nil)}})},
		"a negative soak":   {"change.soak", change(&pb.RolloutChange{Kind: 1, Soak: durationpb.New(-1)})},
		"steps and none":    {"change.no_steps", change(&pb.RolloutChange{Kind: 1, NoSteps: true, Steps: []*pb.CanaryStep{{Weight: 100}}})},
		"a large signature": {"change.signature", change(&pb.RolloutChange{Kind: 1, Signature: make([]byte, 1<<16)})},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.rollouts().ClaimRollout(limited(t), claimOf(c.wrong))
			wantViolation(t, err, c.field)
		})
	}
	if asked := h.supervisor.last(); asked != nil {
		t.Errorf("the supervisor was asked %+v", asked)
	}
}

func TestWrongCallsOfDrivers(t *testing.T) {
	h := newHost(t)
	by := &pb.RolloutDriver{Service: "web", RolloutId: "r1", Epoch: 1}
	_, err := h.rollouts().RenewRollout(limited(t), &pb.RenewRolloutRequest{})
	wantViolation(t, err, "driver.rollout_id")
	for _, step := range []pb.AdvanceRolloutRequest_Step{0, 5, 257, -1} {
		_, err = h.rollouts().AdvanceRollout(limited(t), &pb.AdvanceRolloutRequest{Driver: by, Step: step})
		wantViolation(t, err, "step")
	}
	_, err = h.rollouts().ReleaseRollout(limited(t), &pb.ReleaseRolloutRequest{Driver: by, Ending: strings.Repeat("x", maxText+1)})
	wantViolation(t, err, "ending")
	for _, r := range []*pb.ControlRolloutRequest{
		{Action: pb.ControlRolloutRequest_ACTION_PROMOTE}, {Action: pb.ControlRolloutRequest_ACTION_PROMOTE, Wave: maxWaves + 1}, {Action: pb.ControlRolloutRequest_ACTION_PAUSE, Wave: 1},
	} {
		r.Service, r.RolloutId = "web", "r1"
		_, err := h.rollouts().ControlRollout(limited(t), r)
		wantViolation(t, err, "wave")
	}
	_, err = h.rollouts().FreezeHost(limited(t), &pb.FreezeHostRequest{Reason: " "})
	wantViolation(t, err, "reason")
	_, err = h.rollouts().UnfreezeHost(limited(t), &pb.UnfreezeHostRequest{})
	wantViolation(t, err, "reason")
	if asked := h.supervisor.last(); asked != nil {
		t.Errorf("the supervisor was asked %+v", asked)
	}
}

// Who may upgrade may not choose the program, in a rollout neither, and renews as often
// as they like without a line in the record.
func TestWhoMayWhatInARollout(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	conn := h.dialTLS(t, ca, ca.Client("upgrade", "ci"))
	defer conn.Close()
	rollouts := pb.NewRolloutServiceClient(conn)
	for name, c := range map[string]*pb.RolloutChange{
		"a specification": {Kind: 1, Spec: &pb.ServiceSpec{Artifact: digestOf(nil), Sockets: []*pb.Socket{{Name: "http", Listen: "tcp://:80"}}}},
		"a host's path":   {Kind: 1, Artifact: "host:/bin/sh"},
	} {
		_, err := rollouts.ClaimRollout(limited(t), claimOf(func(r *pb.ClaimRolloutRequest) { r.Change = c }))
		if wantError(t, err, codes.PermissionDenied, pb.Reason_REASON_PERMISSION); h.supervisor.last() != nil {
			t.Errorf("%s reached the supervisor", name)
		}
	}
	if _, err := rollouts.ClaimRollout(limited(t), claimOf(nil)); err != nil {
		t.Error(err)
	}
	before := h.audit.Head().Seq
	for range 3 * changesAtOnce {
		if _, err := rollouts.RenewRollout(limited(t), &pb.RenewRolloutRequest{Driver: &pb.RolloutDriver{Service: "web", RolloutId: "r1", Epoch: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	if lines := h.since(t, before); len(lines) > 0 {
		t.Errorf("renewals are recorded: %+v", lines)
	}
	if _, err := rollouts.AdvanceRollout(limited(t), &pb.AdvanceRolloutRequest{Driver: &pb.RolloutDriver{Service: "web", RolloutId: "r1", Epoch: 7}, Step: pb.AdvanceRolloutRequest_STEP_UNDO}); err != nil {
		t.Error(err)
	}
	lines := h.since(t, before)
	if len(lines) != 1 || lines[0].Service != "web" || lines[0].Detail["driver"] != "of rollout r1, epoch 7" || lines[0].Detail["step"] == "" {
		t.Errorf("recorded as %+v", lines)
	}
}

func TestListRolloutsTellsWhatMayBeRead(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	h.supervisor.frozen = &supervisor.Freeze{Actor: "eve", Reason: "why", Since: time.Unix(1000, 0)}
	policy := *h.server.Policy()
	policy.Roles = map[string]access.Role{"web-reader": {May: []access.Permission{access.Read}, Services: []string{"web"}}}
	h.server.SetPolicy(&policy)
	conn := h.dialTLS(t, ca, ca.Client("web-reader", "x"))
	defer conn.Close()
	got, err := pb.NewRolloutServiceClient(conn).ListRollouts(limited(t), &pb.ListRolloutsRequest{})
	if err != nil || len(got.GetReports()) != 1 || got.GetReports()[0].GetService() != "web" {
		t.Errorf("got %v, %v", got, err)
	}
	want := &pb.Freeze{Actor: "eve", Reason: "why", CreateTime: newTimestamp(time.Unix(1000, 0))}
	if !proto.Equal(got.GetFreeze(), want) {
		t.Errorf("the freeze is %v", got.GetFreeze())
	}
}

// The numbers of the contract are those of the domain.
func TestNumbersOfRollouts(t *testing.T) {
	for want, got := range map[int32]pb.RolloutReport_Progress{
		int32(claim.Claimed): pb.RolloutReport_PROGRESS_CLAIMED, int32(claim.Pushed): pb.RolloutReport_PROGRESS_PUSHED,
		int32(claim.Upgrading): pb.RolloutReport_PROGRESS_UPGRADING, int32(claim.Soaking): pb.RolloutReport_PROGRESS_SOAKING,
		int32(claim.Upgraded): pb.RolloutReport_PROGRESS_UPGRADED, int32(claim.Unchanged): pb.RolloutReport_PROGRESS_UNCHANGED,
		int32(claim.Failed): pb.RolloutReport_PROGRESS_FAILED, int32(claim.Returning): pb.RolloutReport_PROGRESS_RETURNING,
		int32(claim.RolledBack): pb.RolloutReport_PROGRESS_ROLLED_BACK, int32(claim.Stuck): pb.RolloutReport_PROGRESS_STUCK,
	} {
		if int32(got) != want {
			t.Errorf("%v is %d, not %d", got, got, want)
		}
	}
	for want, got := range map[int32]int32{
		int32(claim.Hold): int32(pb.OnOrphan_ON_ORPHAN_HOLD), int32(claim.Rollback): int32(pb.OnOrphan_ON_ORPHAN_ROLLBACK), int32(claim.Finish): int32(pb.OnOrphan_ON_ORPHAN_FINISH),
	} {
		if got != want {
			t.Errorf("a policy for orphans is %d, not %d", got, want)
		}
	}
	for want, got := range map[supervisor.Step]pb.AdvanceRolloutRequest_Step{
		supervisor.StepUpgrade: pb.AdvanceRolloutRequest_STEP_UPGRADE, supervisor.StepPromote: pb.AdvanceRolloutRequest_STEP_PROMOTE,
		supervisor.StepUndo: pb.AdvanceRolloutRequest_STEP_UNDO, supervisor.StepReject: pb.AdvanceRolloutRequest_STEP_REJECT,
	} {
		if int32(got) != int32(want) {
			t.Errorf("%v is %d, not %d", got, got, want)
		}
	}
	for want, got := range map[claim.Action]pb.ControlRolloutRequest_Action{
		claim.Pause: pb.ControlRolloutRequest_ACTION_PAUSE, claim.Resume: pb.ControlRolloutRequest_ACTION_RESUME,
		claim.Promote: pb.ControlRolloutRequest_ACTION_PROMOTE, claim.Abort: pb.ControlRolloutRequest_ACTION_ABORT,
	} {
		if int32(got) != int32(want) {
			t.Errorf("%v is %d, not %d", got, got, want)
		}
	}
	for want, got := range map[claim.Kind]pb.RolloutChange_Kind{
		claim.Upgrade: pb.RolloutChange_KIND_UPGRADE, claim.Restart: pb.RolloutChange_KIND_RESTART, claim.RollBack: pb.RolloutChange_KIND_ROLLBACK,
	} {
		if int32(got) != int32(want) {
			t.Errorf("%v is %d, not %d", got, got, want)
		}
	}
}
