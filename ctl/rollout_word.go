package ctl

import (
	"context"
	"fmt"
	"slices"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
	"github.com/gracefleet/gracefleet/internal/pause"
)

const (
	hearEvery = 250 * time.Millisecond // between two looks at who has heard a word
	// renewed is how much later a lease ends at least once it was renewed: what an agent
	// says of one and the same end differs by its clock's steps.
	renewed = 500 * time.Millisecond
)

// remark says a word to the driver of a rollout, or becomes that.
func (s *session) remark(ctx context.Context, sight *runner.Sight, w *remark) error {
	id := sight.Spec.ID()
	switch {
	case sight.State.Phase == rollout.Ended:
		return overAlready(sight)
	case w.dryRun:
		return s.wouldDo(id, nil, fmt.Sprintf("%s: rollout %s: would be told", sight.Spec.Service, id))
	}
	left, err := s.leaveWord(ctx, sight, w)
	if err != nil {
		return err
	}
	driven := s.heard(ctx, sight, left)
	r := rolloutResult{outcome: "succeeded", id: id, details: s.waysOf(id, w.next...)}
	switch {
	case ctx.Err() != nil:
		r.code, r.outcome = ExitDetached, "detached"
		r.text = fmt.Sprintf("%s: rollout %s: %s: the word is on %s, and whether a driver hears it is not known", sight.Spec.Service, id, whyEnded(ctx), count(left.hosts, "host"))
	case driven:
		r.text = fmt.Sprintf("%s: rollout %s %s; its driver has heard it", sight.Spec.Service, id, w.said)
	case w.drives:
		s.note("%s: nobody drives %s: this command does from now on", sight.Spec.Service, id)
		return s.drive(ctx, drive{
			spec: sight.Spec, from: sight, idle: true, command: w.command, reason: w.reason, requestID: w.id(), commands: w.allowed, notify: w.notify,
		})
	default:
		r.text = fmt.Sprintf("%s: rollout %s: nobody drives it, so nothing begins anyway; whoever goes on finds it paused", sight.Spec.Service, id)
	}
	return s.concludeResult(r)
}

// overAlready says what may still be done about a rollout that has ended.
func overAlready(sight *runner.Sight) error {
	service, id := sight.Spec.Service, sight.Spec.ID()
	if sight.State.Ending != rollout.Completed {
		return fmt.Errorf("%s: rollout %s is over, %s: gracectl rollout status %s tells what became of its hosts", service, id, sight.State.Ending, id)
	}
	return fmt.Errorf("%s: rollout %s is over, %s: gracectl rollback %s --rollout %s undoes it", service, id, sight.State.Ending, service, id)
}

// left is where a word was left.
type left struct {
	hosts int
	gate  string    // where drivers listen
	lease time.Time // that somebody has there, its end; zero without one
}

// leaveWord leaves a word on the claims of all hosts: the one that the driver asks, and
// the others for whoever goes on later.
func (s *session) leaveWord(ctx context.Context, sight *runner.Sight, w *remark) (left, error) {
	req := &pb.ControlRolloutRequest{
		Service: sight.Spec.Service, RolloutId: sight.Spec.ID(), Action: w.action, Reason: w.reason, RequestId: w.id(),
	}
	if w.action == pb.ControlRolloutRequest_ACTION_PROMOTE {
		req.Wave = int32(sight.State.Wave) + 2 // the next one, counted from 1
	}
	claimed := slices.DeleteFunc(slices.Clone(s.fleet()), func(h inventory.Host) bool {
		report := sight.Reports[h.Name]
		return report == nil || report.GetReleaseTime() != nil
	})
	l := left{gate: sight.Gate()}
	err := fmt.Errorf("%s: rollout %s: no host that answers is claimed for it any more", sight.Spec.Service, sight.Spec.ID())
	_ = fanOut(ctx, claimed, func(ctx context.Context, host inventory.Host) (*pb.ControlRolloutResponse, error) {
		return visit(ctx, s, host, func(ctx context.Context, c *client) (*pb.ControlRolloutResponse, error) {
			return c.rollouts.ControlRollout(ctx, req)
		})
	}, func(r reply[*pb.ControlRolloutResponse]) error {
		if r.err != nil {
			err = r.err
			return nil
		}
		l.hosts++
		if end := r.answer.GetReport().GetLeaseEndTime(); end != nil && r.host.Name == l.gate {
			l.lease = end.AsTime()
		}
		return nil
	})
	if l.hosts == 0 {
		return l, err
	}
	return l, nil
}

// heard waits until the driver of a rollout has asked the host where it listens, or has no
// lease there any more: one that has died has it for a while, and hears nothing.
func (s *session) heard(ctx context.Context, sight *runner.Sight, l left) bool {
	began, told, looker := time.Now(), false, s.looker()
	for !l.lease.IsZero() && ctx.Err() == nil {
		p := looker.List(ctx, sight.Spec.Service, []string{l.gate})[0]
		switch end, leased := leaseOf(p, sight.Spec.ID()); {
		case p.Err != nil && time.Since(began) < patience: // it may come back
		case p.Err != nil || !leased:
			return false
		case end.IsZero() || end.Sub(l.lease) > renewed:
			return true
		}
		if !told && time.Since(began) > hearEvery {
			told = true
			s.note("%s: rollout %s: waiting until its driver hears it, or has lost its lease", sight.Spec.Service, sight.Spec.ID())
		}
		_ = pause.For(ctx, hearEvery)
	}
	return false
}

// leaseOf is when the lease of a rollout ends at a host: zero when the claim was given
// up, which only its driver does. It is not leased when nobody has it.
func leaseOf(p runner.Parts, id string) (end time.Time, leased bool) {
	for _, r := range p.Reports {
		if r.GetRolloutId() == id && r.GetReleaseTime() == nil {
			return r.GetLeaseEndTime().AsTime(), r.GetLeaseEndTime() != nil
		}
	}
	return time.Time{}, true
}
