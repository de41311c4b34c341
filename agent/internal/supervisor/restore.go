package supervisor

import (
	"context"
	"errors"
	"fmt"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
)

// Restore takes over the services of the stored records: it adopts what runs,
// and goes on with what was under way. A record that cannot be read is returned
// as a problem; the others are not hindered by it.
func (s *Supervisor) Restore(ctx context.Context, records map[string][]byte) (problems []error) {
	if err := s.restoreFreeze(); err != nil {
		problems = append(problems, err)
	}
	for name, data := range records {
		rec, err := decodeRecord(data)
		if err == nil && rec.Name != name {
			err = fmt.Errorf("the record says it is service %q", rec.Name)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("service %q: %w", name, err))
			continue
		}
		if rec.Deleted {
			s.keepFloor(name, rec.Floor)
			continue
		}
		if err := s.restore(ctx, rec); err != nil {
			problems = append(problems, fmt.Errorf("service %q: %w", name, err))
		}
	}
	if len(problems) == 0 { // else somebody may yet need what nobody seems to
		s.rollouts.Lock()
		defer s.rollouts.Unlock()
		s.sweepRollouts(ctx)
	}
	return problems
}

func (s *Supervisor) restore(ctx context.Context, rec record) error {
	s.host.Sweep(ctx, SlotIntent{Service: rec.Name, Slot: rec.State.LastSlot + 1, Generation: rec.State.LastNumber + 1})
	s.host.Tidy(rec.Name, rec.slotted(s.host.BootID()))
	o := s.add(rec)
	if rec.BootID != s.host.BootID() {
		return o.do(ctx, func() error { o.booted(); o.regainLease(); return nil })
	}
	if err := o.do(ctx, func() error { o.adopting = true; return nil }); err != nil {
		return err
	}
	found := o.findSlots(ctx, rec)
	return o.do(ctx, func() error { return o.adopt(found) })
}

// slotted are the generations that may have a slot still.
func (r *record) slotted(bootID string) []int {
	var out []int
	for i := range r.State.Generations {
		if g := &r.State.Generations[i]; g.Slot != 0 && r.BootID == bootID {
			out = append(out, g.Number)
		}
	}
	return out
}

// booted starts a service anew: nothing of before is left.
func (o *owner) booted() {
	o.rec.BootID = o.host.BootID()
	o.rec.Order = steer.Order{}
	if o.rec.Returns {
		o.rec.Returns, o.rec.State.Halted = false, false
	}
	o.bootedBeside()
	spec, _ := o.rec.spec(o.rec.State.Promoted)
	o.fact(lifecycle.Event{Type: lifecycle.Booted, ID: newID(), Policy: policyOf(spec)})
	o.settle()
}

// foundSlot is a slot of the record as the host has it.
type foundSlot struct {
	slot    Slot
	current Instance
	runs    bool
}

func (o *owner) findSlots(ctx context.Context, rec record) map[int]foundSlot {
	found := map[int]foundSlot{}
	for i := range rec.State.Generations {
		g := &rec.State.Generations[i]
		if g.Slot == 0 {
			continue
		}
		slot, err := o.host.Adopt(ctx, rec.intentOf(g))
		if err != nil {
			if !errors.Is(err, ErrSlotGone) {
				o.log.Error("slot could not be adopted", "slot", g.Slot, "error", err)
			}
			if g.Number == rec.unopened() {
				o.host.Sweep(ctx, rec.intentOf(g))
				o.bury(ctx, g.Slot, g.Number)
			}
			continue
		}
		f := foundSlot{slot: slot}
		f.current, f.runs, err = slot.Current(ctx)
		if err != nil {
			o.log.Error("slot does not say what runs on it", "slot", g.Slot, "error", err)
		}
		found[g.Slot] = f
	}
	return found
}

// unopened is the generation whose slot an earlier agent had yet to open, or had just
// opened, when it ended; 0 when there is none. No slot is opened before its joining is
// written down, so that one without a place in the groups has had no program that anyone
// was told of.
func (r *record) unopened() int {
	for i := range r.State.Generations {
		g := &r.State.Generations[i]
		spec, _ := r.spec(g.Number)
		if g.State == lifecycle.Starting && g.Instance == 1 && !g.External && len(grouped(spec)) > 0 && len(r.Order.Addresses(steer.Slot(g.Slot))) == 0 {
			return g.Number
		}
	}
	return 0
}

// adopt matches the state with what was found, then lets effects go on.
func (o *owner) adopt(found map[int]foundSlot) error {
	unopened := o.rec.unopened()
	order, err := o.rec.Order.Resolve(func(n steer.Slot, a service.Address) bool {
		f, ok := found[int(n)]
		return ok && f.slot.Listening(a)
	})
	if err != nil {
		o.notice(0, true, err.Error())
		order = o.rec.Order
		order.Pending = nil
	}
	o.rec.Order = order
	for number, f := range found {
		sl := o.entry(number)
		sl.asked = true
		sl.settle(f.slot, nil)
	}
	for _, g := range o.rec.State.Clone().Generations {
		if f, ok := found[g.Slot]; g.Slot != 0 && (ok || g.Number != unopened) {
			o.adoptGeneration(g, f, ok)
		}
	}
	o.adopting = false
	o.observe()
	err = o.save()
	o.settle()
	o.regainLease()
	return err
}

func (o *owner) adoptGeneration(g lifecycle.Generation, f foundSlot, there bool) {
	switch {
	case !there && !g.State.Ended():
		o.aside(g.Slot, func(ctx context.Context) { o.bury(ctx, g.Slot, g.Number) })
		o.notice(g.Number, true, "nobody keeps its slot any more: its program is started again")
		o.fact(lifecycle.Event{Type: lifecycle.Exited, Generation: g.Number, Instance: g.Instance, Message: Exit{Unknown: true}.String()})
	case !there || !f.runs || f.current.Number < g.Instance:
		// Its start was never ordered: Run orders it now.
	default:
		o.adoptInstance(g, f.current)
	}
}

func (o *owner) adoptInstance(g lifecycle.Generation, i Instance) {
	v := o.vitals(g.Number)
	v.status = i.Status
	if i.Alive {
		v.pid = i.PID
	}
	o.fact(lifecycle.Event{
		Type: lifecycle.Adopted, Generation: g.Number, Instance: i.Number,
		Clean: i.Alive, Count: max(0, i.Number-g.Instance),
	})
	if !i.Alive {
		// Run finds the ended instance and reports it.
		return
	}
	if i.Ready {
		o.fact(lifecycle.Event{Type: lifecycle.BecameReady, Generation: g.Number, Instance: i.Number})
	}
}

// bury ends what a generation without a keeper has left: nobody could stop it any
// more, and its listeners have places in the groups.
func (o *owner) bury(ctx context.Context, slot, generation int) {
	if err := o.host.Bury(ctx, o.name, slot, generation); err != nil && ctx.Err() == nil {
		o.log.Error("what a generation left running could not be killed", "generation", generation, "error", err)
	}
}
