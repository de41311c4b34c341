package runner

import (
	"context"
	"time"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// task is one effect that is under way. It is one goroutine, and those that it waits
// for.
type task struct {
	*Runner
	rollout.Effect
	*host
	first bool // the host decides who drives
	// driven says that another driver had the host's lease when it was asked last.
	driven bool
	why    string
	last   news
	stop   context.CancelFunc
	// stopped is the owner's: it wants no more answers.
	stopped bool
	silent  bool // told Unreachable, and nothing since
	// refusing is since when the agent has answered nothing but refusals that mean
	// nothing to the machine.
	refusing time.Time
}

// run keeps the effect going until ctx ends.
func (t *task) run(ctx context.Context) {
	for wait := again; ctx.Err() == nil; wait = min(2*wait, lastWait) {
		err := t.perform(ctx)
		if api.ReasonOf(err) == pb.Reason_REASON_ROLLOUT_NOT_FOUND {
			err = t.look(ctx, t.report) // the claim was given up, or the host has lost what it knew
		}
		if err != nil {
			t.refused(ctx, err)
		}
		// What was told ends the effect, unless it came late.
		_ = pause.For(ctx, wait)
	}
}

func (t *task) perform(ctx context.Context) error {
	switch t.Kind {
	case rollout.Claim:
		return t.claim(ctx)
	case rollout.Lease:
		return t.lease(ctx)
	case rollout.Fetch:
		return t.fetch(ctx)
	case rollout.Upgrade:
		return t.upgrade(ctx)
	case rollout.Follow:
		return t.follow(ctx)
	case rollout.Undo:
		return t.undo(ctx)
	case rollout.GiveUp:
		return t.giveUp(ctx)
	}
	return t.connect(ctx)
}

// refused tells what an answer means wherever it is given.
func (t *task) refused(ctx context.Context, err error) {
	e := api.FromStatus(err)
	switch e.Reason {
	case pb.Reason_REASON_ROLLOUT_OVERTAKEN:
		by := heldBy(t.Host, e)
		if by.Driver != t.o.Driver {
			t.overtaken(ctx, by)
			return
		}
		// An earlier claim of its own came through after all, when the lease was over.
		_, _ = t.ask(ctx)
	case pb.Reason_REASON_ROLLOUT_NOT_FOUND:
		t.tell(ctx, rollout.Event{Type: rollout.Forgotten, Message: e.Message})
	default:
		t.refuses()
		t.tellLost(ctx, err)
	}
}

// refuses notes that the agent answers, and to no avail.
func (t *task) refuses() {
	if t.refusing.IsZero() {
		t.refusing = time.Now()
	}
}

func (t *task) overtaken(ctx context.Context, by *HeldError) {
	t.send(ctx, message{held: by, event: rollout.Event{Type: rollout.Overtaken, Host: t.Host, Message: by.holder()}})
}

// look finds out how the host is, whoever has called it since. Where that was another
// driver, or the claim is not there any more, it says so.
func (t *task) look(ctx context.Context, tell func(context.Context, *pb.RolloutReport)) error {
	report, err := t.get(ctx)
	switch {
	case err != nil:
		return err
	case report.GetDriver() != t.o.Driver:
		t.overtaken(ctx, t.heldAs(report))
	default:
		tell(ctx, report)
	}
	return nil
}

// heldAs says that who drives by a report's word is somebody else.
func (t *task) heldAs(report *pb.RolloutReport) *HeldError {
	return &HeldError{
		Host: t.Host, Reason: pb.Reason_REASON_ROLLOUT_OVERTAKEN, Rollout: t.id, SpecHash: t.hash,
		Driver: report.GetDriver(), Actor: report.GetActor(), Message: "another driver has the rollout: " + report.GetDriver(),
	}
}

// driver is who the agent takes the task for.
func (t *task) driver() *pb.RolloutDriver {
	t.mu.Lock()
	defer t.mu.Unlock()
	return &pb.RolloutDriver{Service: t.spec.Service, RolloutId: t.id, Epoch: t.epoch}
}

// get is how the host is, whoever drives.
func (t *task) get(ctx context.Context) (*pb.RolloutReport, error) {
	return t.call(ctx, func(ctx context.Context, c pb.RolloutServiceClient) (*pb.RolloutReport, error) {
		answer, err := c.GetRollout(ctx, &pb.GetRolloutRequest{Service: t.spec.Service, RolloutId: t.id})
		return answer.GetReport(), err
	})
}

// tellLost tells once that the host is out of reach, when that has lasted.
func (t *task) tellLost(ctx context.Context, err error) {
	inVain := !t.refusing.IsZero() && time.Since(t.refusing) >= t.o.Lease
	if t.silent || ctx.Err() != nil || !inVain && t.lost(t.o.Lease) == nil {
		return
	}
	t.silent = true
	t.tell(ctx, rollout.Event{Type: rollout.Unreachable, Message: api.FromStatus(err).Message})
}

// report tells what an agent said.
func (t *task) report(ctx context.Context, r *pb.RolloutReport) {
	t.silent, t.refusing, t.last = false, time.Time{}, newsOf(r)
	t.send(ctx, message{event: told(t.Host, r), report: r})
}

// update tells it when there is something new in it.
func (t *task) update(ctx context.Context, r *pb.RolloutReport) {
	if t.silent || newsOf(r) != t.last {
		t.report(ctx, r)
	}
}

func (t *task) send(ctx context.Context, m message) {
	m.from = t
	select {
	case t.inbox <- m:
	case <-ctx.Done():
	}
}

func (t *task) tell(ctx context.Context, e rollout.Event) {
	e.Host = t.Host
	t.send(ctx, message{event: e})
}
