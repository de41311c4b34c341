package supervisor

import (
	"context"
	"errors"
	"sync"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
)

// openSlot is a slot being opened or open. slot and err are set before ready is
// closed and belong to the owner's goroutine until then.
type openSlot struct {
	number int
	ready  chan struct{}
	once   sync.Once
	slot   Slot
	err    error
	// asked says that the host was told to open it.
	asked bool
}

func newOpenSlot(number int) *openSlot {
	return &openSlot{number: number, ready: make(chan struct{})}
}

// wait returns the slot once it is open.
func (s *openSlot) wait(ctx context.Context) (Slot, error) {
	select {
	case <-s.ready:
		return s.slot, s.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *openSlot) settle(slot Slot, err error) {
	s.slot, s.err = slot, err
	s.once.Do(func() { close(s.ready) })
}

func (s *openSlot) letGo() {
	if s.slot != nil {
		s.slot.Detach()
	}
}

// planJoin records the next slot to open before anything is done about it: at
// most one join or close is under way at a time, so that after a crash the order
// of the groups can be told. A new agent plans none before it knows what runs: what it
// never finds would stay planned, and hold up every other.
func (o *owner) planJoin() {
	g := o.nextToOpen()
	if o.adopting || g == nil || o.rec.Order.Pending != nil {
		return
	}
	addresses := grouped(o.specOf(g))
	if len(addresses) == 0 {
		return
	}
	next, err := o.rec.Order.Join(steer.Slot(g.Slot), addresses)
	if err != nil {
		o.log.Error("slot cannot join", "slot", g.Slot, "error", err)
		return
	}
	o.rec.Order = next
}

// nextToOpen is a generation whose slot nobody has begun to open.
func (o *owner) nextToOpen() *lifecycle.Generation {
	for i := range o.rec.State.Generations {
		g := &o.rec.State.Generations[i]
		if g.Slot == 0 || g.State.Ended() || g.RestartAt != 0 {
			continue
		}
		if !o.entry(g.Slot).asked {
			return g
		}
	}
	return nil
}

func (o *owner) entry(slot int) *openSlot {
	sl := o.slots[slot]
	if sl == nil {
		sl = newOpenSlot(slot)
		o.slots[slot] = sl
	}
	return sl
}

func (o *owner) specOf(g *lifecycle.Generation) service.Spec {
	spec, _ := o.rec.spec(g.Number)
	return spec
}

// openNext opens the slot that planJoin recorded.
func (o *owner) openNext() {
	for g := o.nextToOpen(); g != nil; g = o.nextToOpen() {
		sl := o.entry(g.Slot)
		spec := o.specOf(g)
		if len(grouped(spec)) > 0 && !o.joining(g.Slot) {
			if o.planJoin(); !o.joining(g.Slot) {
				return // another join or close comes first
			}
			if err := o.save(); err != nil {
				o.log.Error("the join of a slot could not be written; trying again", "error", err)
				o.rec.Order.Pending = nil
				o.later(o.settle)
				return
			}
		}
		o.steer() // a newcomer must find the group's program right
		sl.asked = true
		if o.spare == g.Slot {
			o.spare = 0 // it is no spare any more: nobody may take it away
		}
		in := o.rec.intentOf(g)
		in.New = o.onlyIn(spec)
		o.open(sl, in)
	}
}

func (r *record) intentOf(g *lifecycle.Generation) SlotIntent {
	spec, _ := r.spec(g.Number)
	return SlotIntent{Service: r.Name, Slot: g.Slot, Generation: g.Number, Spec: spec, External: r.takenBy(g)}
}

func (o *owner) joining(slot int) bool {
	p := o.rec.Order.Pending
	return p != nil && p.Kind == steer.Join && int(p.Slot) == slot
}

func (o *owner) open(sl *openSlot, in SlotIntent) {
	t := &task{cancel: func() {}, done: make(chan struct{})}
	o.ending[sl.number] = append(o.ending[sl.number], t)
	go func() {
		slot, err := o.host.Open(o.ctx, in)
		close(t.done)
		o.post(o.ctx, func() { o.opened(sl, slot, err) })
		if o.ctx.Err() != nil && slot != nil {
			slot.Detach()
		}
	}()
}

func (o *owner) opened(sl *openSlot, slot Slot, err error) {
	if o.joining(sl.number) {
		if err == nil {
			o.rec.Order = o.rec.Order.Done()
		} else {
			o.rec.Order.Pending = nil
		}
	}
	if err != nil {
		o.log.Error("slot could not be opened", "slot", sl.number, "error", err)
		delete(o.slots, sl.number)
	}
	sl.settle(slot, err)
	o.log.Debug("slot opened", "slot", sl.number, "error", err)
	if err != nil {
		o.failedToOpen(sl.number, err)
		return
	}
	o.settle()
}

// failedToOpen tells the generations of a slot that never came to be.
func (o *owner) failedToOpen(slot int, err error) {
	for _, g := range o.rec.State.Generations {
		if g.Slot == slot && !g.State.Ended() {
			o.fact(startFailed(g.Number, g.Instance, err))
		}
	}
	o.settle()
}

func startFailed(generation, instance int, err error) lifecycle.Event {
	e := lifecycle.Event{
		Type: lifecycle.StartFailed, Generation: generation, Instance: instance,
		Reason: lifecycle.ReasonInternal, Message: err.Error(),
	}
	var start *StartError
	if errors.As(err, &start) {
		e.Reason = start.Reason
	}
	return e
}

// onlyIn are the addresses of a specification that no open slot has.
func (o *owner) onlyIn(spec service.Spec) []service.Address {
	if len(o.rec.Order.Groups) == 0 {
		return nil
	}
	var out []service.Address
	for _, a := range grouped(spec) {
		if len(o.rec.Order.Of(a)) == 0 {
			out = append(out, a)
		}
	}
	return out
}

// grouped are the addresses that form groups in the kernel.
func grouped(spec service.Spec) []service.Address {
	var out []service.Address
	for _, s := range spec.Sockets {
		if s.Address.Network != service.Unix {
			out = append(out, s.Address)
		}
	}
	return out
}

// relistened records that a slot left groups and joined them anew.
func (o *owner) relistened(again []service.Address, number int) {
	for _, a := range again {
		o.rec.Order = o.rec.Order.Relisten(steer.Slot(number), a)
	}
	o.saveOrder()
}

// left records that a slot left its groups.
func (o *owner) left(slot Slot, number int) {
	for _, a := range slot.Addresses() {
		o.rec.Order = o.rec.Order.Drop(steer.Slot(number), a)
	}
	o.saveOrder()
}

func (o *owner) saveOrder() {
	if err := o.save(); err != nil {
		o.log.Error("the order of the slots could not be written; trying again", "error", err)
		o.saveLater()
	}
	o.settle()
}
