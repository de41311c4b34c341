package runner

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// upgrade has the host begin, and follows it from then on.
func (t *task) upgrade(ctx context.Context) error {
	report, err := t.advance(ctx, pb.AdvanceRolloutRequest_STEP_UPGRADE, "")
	if err != nil {
		return t.unbegun(ctx, err)
	}
	t.report(ctx, report)
	if !begun(report) {
		return nil // it is asked again
	}
	return t.watch(ctx, report)
}

// unbegun tells why the host does not begin, where it has not, whatever was heard of the
// calls before this one.
func (t *task) unbegun(ctx context.Context, refusal error) error {
	if known(refusal) || ctx.Err() != nil {
		return refusal
	}
	report, err := t.renew(ctx)
	if err != nil {
		return err
	}
	if begun(report) {
		t.report(ctx, report)
		return t.watch(ctx, report)
	}
	e := api.FromStatus(refusal)
	event := rollout.Event{Type: rollout.Denied, Reason: api.ReasonText(e.Reason), Message: e.Message}
	if e.Reason == pb.Reason_REASON_FROZEN {
		event.Type = rollout.Declined
	}
	t.tell(ctx, event)
	return nil
}

// undo has the host go back.
func (t *task) undo(ctx context.Context) error {
	report, err := t.advance(ctx, pb.AdvanceRolloutRequest_STEP_UNDO, t.why)
	switch {
	case err != nil && (known(err) || ctx.Err() != nil):
		return err
	case err != nil:
		e := api.FromStatus(err)
		t.tell(ctx, rollout.Event{Type: rollout.Denied, Reason: api.ReasonText(e.Reason), Message: e.Message})
		return nil
	}
	t.report(ctx, report)
	return t.watch(ctx, report)
}

// follow looks now and then how a host is that was upgraded: those of a wave may be
// thousands, which is too many for a connection each.
func (t *task) follow(ctx context.Context) error {
	for pause.For(ctx, jitter(t.followEvery())) == nil {
		if err := t.look(ctx, t.update); err != nil {
			return err
		}
	}
	return nil
}

// followEvery is the most time between two looks at a host. In a pause each is looked at
// once at least, unless that is very short.
func (r *Runner) followEvery() time.Duration {
	every := min(max(followAtLeast, time.Duration(slices.Max(r.spec.Plan.Waves))*followCost), followAtMost)
	if between := r.spec.Policy.Pause; between > 0 {
		return min(every, max(between, again))
	}
	return every
}

// How often hosts are looked at that were upgraded: a look may cost a connection, of some
// 2 ms of CPU time.
const (
	followCost                  = 50 * time.Millisecond // for each host of the largest wave
	followAtLeast, followAtMost = 10 * time.Second, time.Minute
)

func (t *task) advance(ctx context.Context, step pb.AdvanceRolloutRequest_Step, reason string) (*pb.RolloutReport, error) {
	return t.call(ctx, func(ctx context.Context, c pb.RolloutServiceClient) (*pb.RolloutReport, error) {
		answer, err := c.AdvanceRollout(ctx, &pb.AdvanceRolloutRequest{Driver: t.driver(), Step: step, Reason: reason})
		return answer.GetReport(), err
	})
}

// known says that a refusal means the same wherever it is given.
func known(err error) bool {
	switch api.ReasonOf(err) {
	case pb.Reason_REASON_ROLLOUT_OVERTAKEN, pb.Reason_REASON_ROLLOUT_NOT_FOUND:
		return true
	}
	return false
}

// watch tells what happens to the host, until ctx ends. While it soaks, and the driver
// has something of its own to look at, it is judged.
func (t *task) watch(ctx context.Context, last *pb.RolloutReport) error {
	j := t.newJudge(ctx)
	defer j.end()
	j.see(last)
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		err := t.stream(ctx, func(r *pb.RolloutReport) bool {
			wait = firstWait // it is there
			t.update(ctx, r)
			j.see(r)
			return true
		})
		if err == nil {
			_, err = t.renew(ctx) // the claim was given up, which a driver hears when it calls
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !transient(err):
			return err
		case err != nil:
			t.tellLost(ctx, err)
		}
		if err := pause.For(ctx, jitter(wait)); err != nil {
			return nil
		}
	}
}

// stream hears one connection out, for as long as each report is wanted to be followed by
// another.
func (t *task) stream(ctx context.Context, more func(*pb.RolloutReport) bool) error {
	return t.reach(ctx, func(ctx context.Context, c *conn) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s, err := pb.NewRolloutServiceClient(c).WatchRollout(ctx, &pb.WatchRolloutRequest{Service: t.spec.Service, RolloutId: t.id})
		if err != nil {
			return err
		}
		for {
			answer, err := s.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			t.answered()
			if !more(answer.GetReport()) {
				return nil
			}
		}
	})
}
