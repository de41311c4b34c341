//go:build linux

package e2e

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// driver drives a rollout of web on one host, over the API.
type driver struct {
	*service
	name, rollout string
	epoch         int64
	said          *pb.RolloutReport // last
}

// drives is a driver of a rollout that has not claimed web yet. What the test leaves
// claimed is given up when it ends.
func (s *service) drives(name, rollout string) *driver {
	s.t.Helper()
	d := &driver{service: s, name: name, rollout: rollout}
	s.t.Cleanup(d.giveUp)
	return d
}

// giveUp has whatever claim there is taken over, undone and released.
func (d *driver) giveUp() {
	ctx, cancel := context.WithTimeout(context.Background(), awaitLimit)
	defer cancel()
	got, err := d.rollouts().GetRollout(ctx, &pb.GetRolloutRequest{Service: "web"}, grpc.WaitForReady(true))
	if err != nil || got.GetReport().GetReleaseTime() != nil {
		return
	}
	r := got.GetReport()
	claimed, err := d.rollouts().ClaimRollout(ctx, &pb.ClaimRolloutRequest{
		Service: "web", RolloutId: r.GetRolloutId(), SpecHash: r.GetSpecHash(), Driver: "cleanup", TakeOver: true, Reason: "the test is over",
	})
	if err != nil {
		d.t.Error(err)
		return
	}
	by := &pb.RolloutDriver{Service: "web", RolloutId: r.GetRolloutId(), Epoch: claimed.GetReport().GetEpoch()}
	for ctx.Err() == nil {
		if _, err = d.rollouts().ReleaseRollout(ctx, &pb.ReleaseRolloutRequest{Driver: by}); err == nil {
			return
		}
		if _, err := d.rollouts().AdvanceRollout(ctx, &pb.AdvanceRolloutRequest{Driver: by, Step: pb.AdvanceRolloutRequest_STEP_UNDO}); err != nil {
			d.t.Error(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	d.t.Error(err)
}

func (s *service) rollouts() pb.RolloutServiceClient {
	return pb.NewRolloutServiceClient(s.Client(s.t))
}

func (d *driver) by() *pb.RolloutDriver {
	return &pb.RolloutDriver{Service: "web", RolloutId: d.rollout, Epoch: d.epoch}
}

// tryClaim asks for web.
func (d *driver) tryClaim(change *pb.RolloutChange, more func(*pb.ClaimRolloutRequest)) error {
	d.t.Helper()
	r := &pb.ClaimRolloutRequest{
		Service: "web", RolloutId: d.rollout, Spec: []byte("all of " + d.rollout), SpecHash: "hash-of-" + d.rollout, Change: change,
		Driver: d.name, Reason: "a test",
	}
	if more != nil {
		more(r)
	}
	answer, err := d.rollouts().ClaimRollout(d.t.Context(), r, grpc.WaitForReady(true))
	if err == nil {
		d.said, d.epoch = answer.GetReport(), answer.GetReport().GetEpoch()
	}
	return err
}

func (d *driver) claim(change *pb.RolloutChange, more func(*pb.ClaimRolloutRequest)) {
	d.t.Helper()
	if err := d.tryClaim(change, more); err != nil {
		d.t.Fatal(err)
	}
}

func (d *driver) tryAdvance(step pb.AdvanceRolloutRequest_Step) error {
	d.t.Helper()
	answer, err := d.rollouts().AdvanceRollout(d.t.Context(), &pb.AdvanceRolloutRequest{Driver: d.by(), Step: step, Reason: "as the test wants"}, grpc.WaitForReady(true))
	if err == nil {
		d.said = answer.GetReport()
	}
	return err
}

func (d *driver) advance(step pb.AdvanceRolloutRequest_Step) {
	d.t.Helper()
	if err := d.tryAdvance(step); err != nil {
		d.t.Fatalf("%v: %v", step, err)
	}
}

// renew asks how the host is, and keeps the lease.
func (d *driver) renew() error {
	answer, err := d.rollouts().RenewRollout(d.t.Context(), &pb.RenewRolloutRequest{Driver: d.by()}, grpc.WaitForReady(true))
	if err == nil {
		d.said = answer.GetReport()
	}
	return err
}

// reach watches until the host is that far.
func (d *driver) reach(want pb.RolloutReport_Progress) *pb.RolloutReport {
	d.t.Helper()
	return d.awaitReport(d.rollout, func(r *pb.RolloutReport) bool {
		if r.GetRevision() < d.said.GetRevision() {
			d.t.Fatalf("revision %d follows %d", r.GetRevision(), d.said.GetRevision())
		}
		d.said = r
		return r.GetProgress() == want
	})
}

// soak claims web for an upgrade and carries it out until its soak, which lasts.
func (d *driver) soak(digest string) {
	d.t.Helper()
	d.claim(to(digest), nil)
	d.advance(pb.AdvanceRolloutRequest_STEP_UPGRADE)
	d.reach(pb.RolloutReport_PROGRESS_SOAKING)
}

// is fails the test unless the last report says so.
func (d *driver) is(want pb.RolloutReport_Progress) {
	d.t.Helper()
	if d.said.GetProgress() != want {
		d.t.Fatalf("the host is %v, want %v:\n%s", d.said.GetProgress(), want, prototext.Format(d.said))
	}
}

func (d *driver) release(ending string) {
	d.t.Helper()
	if _, err := d.rollouts().ReleaseRollout(d.t.Context(), &pb.ReleaseRolloutRequest{Driver: d.by(), Ending: ending}, grpc.WaitForReady(true)); err != nil {
		d.t.Fatal(err)
	}
}

// refused fails the test unless an error has the reason. It returns its metadata.
func refused(t testing.TB, err error, code codes.Code, reason pb.Reason) map[string]string {
	t.Helper()
	e := api.FromStatus(err)
	if e == nil || e.Code != code || e.Reason != reason {
		t.Fatalf("got %v, want %v", err, reason)
	}
	return e.Metadata
}

// to is an upgrade to an artifact whose soak lasts until its driver ends it.
func to(digest string) *pb.RolloutChange {
	return &pb.RolloutChange{Kind: pb.RolloutChange_KIND_UPGRADE, Artifact: digest, HoldSoak: true}
}

// simple is a service that is promoted at once.
const simple = "sockets: [{name: http, listen: \"ADDRESS\"}]\nready: {notify: {}}\nargs: [-notify]\nupgrade: {soak: 0s}\n"

// awaitReport watches a rollout until its report is as wanted.
func (s *service) awaitReport(rollout string, want func(*pb.RolloutReport) bool) *pb.RolloutReport {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), awaitLimit)
	defer cancel()
	stream, err := s.rollouts().WatchRollout(ctx, &pb.WatchRolloutRequest{Service: "web", RolloutId: rollout}, grpc.WaitForReady(true))
	if err != nil {
		s.t.Fatal(err)
	}
	var last *pb.RolloutReport
	for {
		m, err := stream.Recv()
		if err != nil {
			s.t.Fatalf("the last report of %s was\n%s%v", rollout, prototext.Format(last), err)
		}
		if last = m.GetReport(); want(last) {
			return last
		}
	}
}
