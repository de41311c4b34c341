package steer

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// ErrAmbiguous is returned by Resolve when several slots left a group at times
// nobody saw, so that more than one order is possible.
var ErrAmbiguous = errors.New("the order of the slots cannot be told")

// maxEvents bounds the orders of events that Resolve tries: 5! is 120.
const maxEvents = 5

// Resolve returns the order that the kernel has now, after the agent died at
// any point of the pending operation. present says whether the kernel still
// lists slot as listening on the address (by the cookies of sock_diag). Slots
// that vanished on their own are taken out too.
func (o Order) Resolve(present func(Slot, service.Address) bool) (Order, error) {
	c := Order{}
	for _, a := range o.touched() {
		slots, err := o.resolveGroup(a, present)
		if err != nil {
			return o, err
		}
		if len(slots) > 0 {
			c.Groups = append(c.Groups, Group{Address: a, Slots: slots})
		}
	}
	return c, nil
}

func (o Order) touched() []service.Address {
	var out []service.Address
	for _, g := range o.Groups {
		out = append(out, g.Address)
	}
	if o.Pending == nil {
		return out
	}
	for _, a := range o.Pending.Addresses {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

type event struct {
	kind Kind
	slot Slot
}

func (o Order) resolveGroup(a service.Address, present func(Slot, service.Address) bool) ([]Slot, error) {
	group := o.Of(a)
	var events []event
	if p := o.Pending; p != nil && p.Kind == Join && slices.Contains(p.Addresses, a) && present(p.Slot, a) {
		events = append(events, event{Join, p.Slot})
	}
	for _, s := range group {
		if !present(s, a) {
			events = append(events, event{Leave, s})
		}
	}
	slots, ok := outcome(group, events)
	if !ok {
		return nil, fmt.Errorf("%s: %w: %d changes of the group went unseen; give all weight to one slot and restart the others",
			a, ErrAmbiguous, len(events))
	}
	return slots, nil
}

// outcome applies the events in every order and says whether all agree.
func outcome(group []Slot, events []event) ([]Slot, bool) {
	if len(events) > maxEvents {
		return settled(group, events)
	}
	var found []Slot
	agree := true
	permute(events, func(es []event) {
		s := slices.Clone(group)
		for _, e := range es {
			s = apply(s, e.kind, e.slot)
		}
		if found == nil {
			found = s
		}
		agree = agree && slices.Equal(found, s)
	})
	return found, agree
}

// settled handles many events: with at most one member left there is one order.
func settled(group []Slot, events []event) ([]Slot, bool) {
	s := slices.Clone(group)
	for _, e := range events {
		s = apply(s, e.kind, e.slot)
	}
	return s, len(s) <= 1
}

func permute(es []event, visit func([]event)) {
	var rec func(int)
	rec = func(n int) {
		if n >= len(es) {
			visit(es)
			return
		}
		for i := n; i < len(es); i++ {
			es[n], es[i] = es[i], es[n]
			rec(n + 1)
			es[n], es[i] = es[i], es[n]
		}
	}
	rec(0)
}
