package supervisor

import (
	"context"
	"errors"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// Attempts at readiness follow each other closely at first: they decide how soon
// a new generation takes over.
const (
	firstAttempt = time.Millisecond
	slowAttempt  = 100 * time.Millisecond
	// attemptLimit bounds one of them: it holds the private path.
	attemptLimit = 10 * time.Second
)

// awaitReady proves that an instance may receive connections.
func (o *owner) awaitReady(e lifecycle.Effect, sl *openSlot) func(context.Context) {
	spec, _ := o.rec.spec(e.Program)
	proving := o.rec.State.Upgrading() && o.rec.State.Upgrade.To == e.Generation
	adopted := o.external(e.Generation) != nil
	return func(ctx context.Context) {
		slot, err := sl.wait(ctx)
		if err != nil {
			return
		}
		if !adopted { // that serves already
			if err := o.prove(ctx, e, slot, spec.Readiness.Probe, spec.Handover.Dialect); err != nil {
				return
			}
			o.log.Debug("program ready", "generation", e.Generation, "instance", e.Instance)
			if err := slot.Inspect(ctx, true); err != nil && proving {
				o.post(ctx, func() { o.fact(fault(e.Generation, err)) })
				return
			}
		}
		o.post(ctx, func() {
			o.fact(lifecycle.Event{Type: lifecycle.BecameReady, Generation: e.Generation, Instance: e.Instance})
			o.succeed(e)
		})
	}
}

// prove returns nil once the probe has succeeded, else with ctx.
func (o *owner) prove(ctx context.Context, e lifecycle.Effect, slot Slot, p service.Probe, dialect string) error {
	switch {
	case p.Notify:
		o.post(ctx, func() {
			o.vitals(e.Generation).cause = "the program's main process has not said READY=1 on NOTIFY_SOCKET"
		})
		return slot.AwaitNotify(ctx, e.Instance)
	case p.ParentSignal:
		o.post(ctx, func() { o.vitals(e.Generation).cause = "the program has not signalled its parent" })
		return slot.AwaitParentSignal(ctx, e.Instance, dialect)
	case p.AliveFor > 0:
		return pause.For(ctx, p.AliveFor)
	}
	wait := firstAttempt
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptLimit)
		err := slot.Probe(attempt, p, o.steering, e.Generation)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		o.post(ctx, func() { o.vitals(e.Generation).cause = err.Error() })
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, slowAttempt)
	}
}

func fault(generation int, err error) lifecycle.Event {
	e := lifecycle.Event{Type: lifecycle.Fault, Generation: generation, Reason: lifecycle.ReasonInternal, Message: err.Error()}
	var p *Problem
	if errors.As(err, &p) {
		e.Reason = p.Reason
	}
	return e
}
