package runner

import (
	"cmp"
	"context"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

// claim asks the host for its claim. By the driver's name the agent knows who asks again,
// because the answer was lost.
func (t *task) claim(ctx context.Context) error {
	if err := t.lost(t.o.Lease); err != nil {
		t.tellLost(ctx, err) // connections that were made ahead have failed for long enough
	}
	if over, err := t.endedByAnother(ctx); over || err != nil {
		return err
	}
	report, err := t.ask(ctx)
	if err != nil {
		return t.unclaimed(ctx, err)
	}
	t.report(ctx, report)
	return nil
}

// endedByAnother says that who drove the host has given its claim up since: the rollout is
// over, and to claim it would begin it anew.
func (t *task) endedByAnother(ctx context.Context) (bool, error) {
	if !t.driven {
		return false, nil
	}
	report, err := t.get(ctx)
	switch {
	case api.ReasonOf(err) == pb.Reason_REASON_ROLLOUT_NOT_FOUND:
		return false, nil
	case err != nil || report.GetReleaseTime() == nil:
		return false, err
	}
	t.overtaken(ctx, t.heldAs(report))
	return true, nil
}

// ask makes the call, and notes the epoch of the lease.
func (t *task) ask(ctx context.Context) (*pb.RolloutReport, error) {
	report, err := t.call(ctx, func(ctx context.Context, c pb.RolloutServiceClient) (*pb.RolloutReport, error) {
		answer, err := c.ClaimRollout(ctx, t.claimRequest())
		return answer.GetReport(), err
	})
	if err != nil {
		return nil, err
	}
	t.setEpoch(report.GetEpoch())
	t.leases()
	t.raiseEpoch(report.GetEpoch())
	return report, nil
}

func (t *task) claimRequest() *pb.ClaimRolloutRequest {
	req := &pb.ClaimRolloutRequest{
		Service: t.spec.Service, RolloutId: t.id, Spec: t.encoded, SpecHash: t.hash,
		OnOrphan: orphans[t.spec.Policy.OnOrphan], Driver: t.o.Driver, Lease: durationpb.New(t.o.Lease), TakeOver: t.o.TakeOver,
		Reason: cmp.Or(t.o.Reason, t.spec.Request.Reason), Epoch: t.leastEpoch.Load(), RequestId: cmp.Or(t.o.RequestID, t.spec.Request.ID),
	}
	if release, target := t.releases[t.Host]; target {
		req.Change = t.changes[release]
	}
	return req
}

// unclaimed tells why the host did not give its claim.
func (t *task) unclaimed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	e := api.FromStatus(err)
	held := heldBy(t.Host, e)
	refusal := rollout.Event{Host: t.Host, Reason: api.ReasonText(e.Reason), Message: e.Message}
	switch e.Reason {
	case pb.Reason_REASON_ROLLOUT_CLAIMED, pb.Reason_REASON_UPGRADE_IN_PROGRESS:
		refusal.Type, refusal.Message = rollout.Held, held.holder()
	case pb.Reason_REASON_ROLLOUT_DRIVEN:
		if !t.first {
			t.driven = true
			return err // its driver is gone, or hears so soon: the lease ends
		}
		refusal.Type, refusal.Message = rollout.Overtaken, held.holder()
	case pb.Reason_REASON_FROZEN, pb.Reason_REASON_SERVICE_NOT_FOUND:
		held, refusal.Type = nil, rollout.Declined
	default:
		held, refusal.Type = nil, rollout.Denied
	}
	t.send(ctx, message{event: refusal, held: held})
	return nil
}

// giveUp gives the claim up. Where it is not known whether there is one, since the answer
// was lost, the host tells.
func (t *task) giveUp(ctx context.Context) error {
	if t.driver().GetEpoch() == 0 {
		report, err := t.get(ctx)
		if err != nil && api.ReasonOf(err) != pb.Reason_REASON_ROLLOUT_NOT_FOUND {
			return err
		}
		if report.GetDriver() != t.o.Driver || report.GetReleaseTime() != nil {
			t.tell(ctx, rollout.Event{Type: rollout.Released})
			return nil
		}
		t.setEpoch(report.GetEpoch())
	}
	report, err := t.call(ctx, func(ctx context.Context, c pb.RolloutServiceClient) (*pb.RolloutReport, error) {
		answer, err := c.ReleaseRollout(ctx, &pb.ReleaseRolloutRequest{Driver: t.driver(), Ending: t.Ending.String()})
		return answer.GetReport(), err
	})
	if err != nil {
		return err
	}
	event := told(t.Host, report)
	event.Type, event.Ending = rollout.Released, t.Ending
	t.send(ctx, message{event: event, report: report})
	return nil
}
