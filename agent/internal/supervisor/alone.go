package supervisor

import (
	"context"
	"fmt"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// fullPercent of a queue are taken when an upgrade without overlap gives up: the
// rest is for what arrives until the old program answers.
const fullPercent = 80

// awaitFull gives up on a generation that is not ready before the connections that
// wait for it fill its queue.
func (o *owner) awaitFull(e lifecycle.Effect, sl *openSlot) func(context.Context) {
	return func(ctx context.Context) {
		slot, err := sl.wait(ctx)
		if err != nil {
			return
		}
		queued, limit, err := slot.AwaitFull(ctx, fullPercent)
		if err != nil {
			if ctx.Err() == nil {
				o.log.Warn("a queue cannot be watched; its limit decides", "slot", e.Slot, "error", err)
			}
			return
		}
		message := fmt.Sprintf("%d connections wait in a queue of %d, and nobody serves them", queued, limit)
		o.post(ctx, func() {
			o.fact(lifecycle.Event{Type: lifecycle.Fault, Generation: e.Generation, Reason: lifecycle.ReasonQueueFull, Message: message})
		})
	}
}

// vacated are the slots whose programs have ended, if this one must be alone: what
// those left running is not to meet it.
func (o *owner) vacated(e lifecycle.Effect) []*openSlot {
	g := o.rec.State.Generation(e.Generation)
	if g == nil || !g.Alone || g.Running {
		return nil
	}
	var out []*openSlot
	for number, sl := range o.slots {
		if number != e.Slot {
			out = append(out, sl)
		}
	}
	return out
}

func (o *owner) vacate(ctx context.Context, slots []*openSlot) error {
	for _, sl := range slots {
		slot, err := sl.wait(ctx)
		if err != nil {
			continue // it never opened
		}
		if err := slot.Kill(ctx, "vacate"); err != nil {
			return fmt.Errorf("what the generation before left running could not be killed: %w", err)
		}
	}
	return nil
}

// mustOverlap refuses what an upgrade without overlap cannot do.
func mustOverlap(r UpgradeRequest, spec service.Spec) error {
	if !spec.Upgrade.NoOverlap {
		return nil
	}
	const reason = "the service has upgrade.overlap: none: the old generation ends first"
	e := &service.InvalidError{}
	if len(r.Steps) > 0 {
		e.Violations = append(e.Violations, service.Violation{Field: "steps", Reason: reason})
	}
	if r.Soak != nil && *r.Soak > 0 {
		e.Violations = append(e.Violations, service.Violation{Field: "soak", Reason: reason})
	}
	if len(e.Violations) == 0 {
		return nil
	}
	return e
}

// heirOf is the slot to which a generation's connections go that makes room; nil
// for any other, whose connections have gone already.
func (o *owner) heirOf(generation int) *openSlot {
	g := o.rec.State.Generation(generation)
	if g == nil || g.CutAt == 0 || !o.rec.State.Upgrading() {
		return nil
	}
	next := o.rec.State.Generation(o.rec.State.Upgrade.To)
	if next == nil || next.Slot == 0 {
		return nil
	}
	return o.entry(next.Slot)
}

// steered returns once connections go to a slot that is being opened: a program
// that is told to end before would leave some in its queue.
func (o *owner) steered(ctx context.Context, heir *openSlot) error {
	if heir == nil {
		return nil
	}
	if _, err := heir.wait(ctx); err != nil {
		return err
	}
	// The owner steers in the turn in which the slot has opened.
	return o.do(ctx, func() error { return nil })
}
