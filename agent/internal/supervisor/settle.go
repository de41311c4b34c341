package supervisor

import (
	"fmt"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
)

// retryAfter is how long a change that could not be written waits.
const retryAfter = time.Second

// command makes one step for an operator. If it cannot be made durable, nothing
// has happened.
func (o *owner) command(e lifecycle.Event) error {
	before := o.rec.State
	e.At = o.host.Now()
	after, err := lifecycle.Step(before, e)
	if err != nil {
		return err
	}
	return o.become(before, after)
}

// attempt runs a command that writes into the history first; if it is refused,
// the history is as it was.
func (o *owner) attempt(f func() error) error {
	saved := o.rec.clone()
	err := f()
	if err != nil {
		o.rec = saved
	}
	return err
}

// fact makes one step for something that happened. If it cannot be written, it
// waits: nobody may act on it before it is durable.
func (o *owner) fact(e lifecycle.Event) {
	before := o.rec.State
	e.At = o.host.Now()
	after, _ := lifecycle.Step(before, e)
	err := o.become(before, after)
	if err == nil {
		return
	}
	o.log.Error("a change could not be written; trying again", "error", err)
	o.later(func() { o.fact(e) })
}

func (o *owner) later(f func()) {
	time.AfterFunc(retryAfter, func() { o.post(o.ctx, f) })
}

// become moves to a state: history, record, weights, effects, in that order.
// Returning connections to a proven generation comes before the record.
func (o *owner) become(before, after lifecycle.State) error {
	saved := o.rec.clone()
	o.rec.State = after
	news := o.chronicle(before, after)
	moved := o.observe()
	o.planJoin()
	if moved || lifecycle.Durable(before, after) {
		first := lifecycle.GivesBack(before, after)
		if first {
			o.steer()
		}
		if err := o.save(); err != nil && !first {
			o.rec = saved
			return err
		} else if err != nil {
			o.saveLater()
		}
	}
	o.report(news)
	o.settle()
	if moved {
		o.orphanSoon()
	}
	return nil
}

// settle does everything that follows from the state as it stands.
func (o *owner) settle() {
	if o.adopting {
		return
	}
	o.openNext()
	o.steer()
	o.keepEffects()
	o.grantClose()
	o.arm()
	o.followPID()
	o.keepSpare()
	o.publish()
}

// spareAfter lets an upgrade end before the next one is prepared.
const spareAfter = 500 * time.Millisecond

// keepSpare has the keeper of the next slot started ahead, while the service is at
// rest: an upgrade need not wait for a process then.
func (o *owner) keepSpare() {
	next := o.rec.State.LastSlot + 1
	a := o.rec.State.Active()
	switch {
	case o.rec.State.Halted || o.deleted:
		o.dropSpare()
	case o.rec.State.Upgrading(): // it is about to be used
	case a == nil:
		o.dropSpare()
	case o.spare != next && a.Ready:
		o.spare = next
		time.AfterFunc(spareAfter, func() { o.post(o.ctx, o.prepareSpare) })
	}
}

func (o *owner) prepareSpare() {
	if o.spare != o.rec.State.LastSlot+1 || o.rec.State.Halted || o.deleted {
		return
	}
	o.host.Prepare(o.spareIntent())
}

func (o *owner) dropSpare() {
	if o.spare == 0 {
		return
	}
	o.host.Discard(o.spareIntent())
	o.spare = 0
}

// spareIntent is the next slot as far as it is known: its program may be another.
func (o *owner) spareIntent() SlotIntent {
	return SlotIntent{Service: o.name, Slot: o.spare, Generation: o.rec.State.LastNumber + 1, Spec: o.rec.Spec}
}

// unknownPID is what the pid file says before this agent wrote it.
const unknownPID = -1

// followPID has the pid file name the active generation's program.
func (o *owner) followPID() {
	pid := 0
	if a := o.rec.State.Active(); a != nil {
		pid = o.vitals(a.Number).pid
	}
	if pid == o.pid || o.deleted {
		return
	}
	if err := o.host.SetPID(o.name, pid); err != nil {
		o.log.Warn("the pid file does not follow", "error", err)
		return
	}
	o.pid = pid
}

// steer applies the state's weights to the slots that are open.
func (o *owner) steer() {
	open := map[int]Slot{}
	for n, sl := range o.slots {
		if sl.slot != nil {
			open[n] = sl.slot
		}
	}
	o.dropSilent(open)
	if err := o.steering.Set(o.rec.Order, o.rec.State.Weights(), open); err != nil {
		o.log.Error("connections could not be steered", "error", err)
		o.notice(0, true, fmt.Sprintf("connections could not be steered: %v", err))
	}
}

// dropSilent takes out of the order what left its group without being told to:
// a program that calls shutdown(2) on its listener moves the last member of the
// group into its place, and what the record then says would mislead.
func (o *owner) dropSilent(open map[int]Slot) {
	for n, slot := range open {
		for _, a := range o.rec.Order.Addresses(steer.Slot(n)) {
			if o.leaving(n) || slot.Listening(a) {
				continue
			}
			o.log.Warn("a slot no longer listens: connections are steered without it", "slot", n, "address", a.String())
			o.rec.Order = o.rec.Order.Drop(steer.Slot(n), a)
		}
	}
}

func (o *owner) leaving(slot int) bool {
	p := o.rec.Order.Pending
	return p != nil && p.Kind == steer.Leave && int(p.Slot) == slot
}

func (o *owner) arm() {
	o.timer.Stop()
	next := o.rec.State.Timer()
	if next == 0 {
		return
	}
	o.timer.Reset(max(0, time.Duration(next-o.host.Now())))
}
