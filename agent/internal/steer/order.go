package steer

import (
	"fmt"
	"slices"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Slot numbers a set of listening sockets of one service; the first is 1, and 0
// means none.
type Slot int

// Order is the position of every slot in the kernel's groups, one group an
// address. It is a value: methods return a new Order and leave the receiver as
// it is. The zero Order has no groups.
type Order struct {
	Groups []Group `json:"groups,omitempty"`
	// Pending is the operation under way: recorded before the kernel is touched,
	// cleared by Done, or by Resolve after a crash.
	Pending *Pending `json:"pending,omitempty"`
}

// Group is one address and its slots; a slot's position is its kernel index.
type Group struct {
	Address service.Address `json:"address"`
	Slots   []Slot          `json:"slots"`
}

// Kind is what a pending operation does.
type Kind string

// The pending operations.
const (
	Join  Kind = "join"
	Leave Kind = "leave"
)

// Pending is an operation that may or may not have reached the kernel, for each
// of its addresses separately.
type Pending struct {
	Kind      Kind              `json:"kind"`
	Slot      Slot              `json:"slot"`
	Addresses []service.Address `json:"addresses"`
}

// Clone returns an Order that shares no memory with o.
func (o Order) Clone() Order {
	c := Order{Groups: slices.Clone(o.Groups)}
	for i, g := range c.Groups {
		c.Groups[i].Slots = slices.Clone(g.Slots)
	}
	if o.Pending != nil {
		p := *o.Pending
		p.Addresses = slices.Clone(p.Addresses)
		c.Pending = &p
	}
	return c
}

// Of returns a copy of the slots of an address in kernel order; nil if none.
func (o Order) Of(a service.Address) []Slot {
	for _, g := range o.Groups {
		if g.Address == a {
			return slices.Clone(g.Slots)
		}
	}
	return nil
}

// Addresses returns the addresses where slot listens.
func (o Order) Addresses(slot Slot) []service.Address {
	var out []service.Address
	for _, g := range o.Groups {
		if slices.Contains(g.Slots, slot) {
			out = append(out, g.Address)
		}
	}
	return out
}

// Slots returns every slot that listens somewhere, ascending.
func (o Order) Slots() []Slot {
	var out []Slot
	for _, g := range o.Groups {
		out = append(out, g.Slots...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Join records that slot is about to listen on addresses. Attach the programs
// of these addresses anew before the listen: a program left by an earlier close
// may name the index that the newcomer is going to get.
func (o Order) Join(slot Slot, addresses []service.Address) (Order, error) {
	for _, a := range addresses {
		if slices.Contains(o.Of(a), slot) {
			return o, fmt.Errorf("slot %d already listens on %s", slot, a)
		}
	}
	return o.begin(Join, slot, addresses)
}

// Close records that all sockets of slot are about to be closed. Ask Closable
// first: Close itself takes any slot that listens.
func (o Order) Close(slot Slot) (Order, error) {
	return o.leave(slot, o.Addresses(slot))
}

// Leave records that slot is about to stop listening on one address, by close
// or by shutdown(2); a later Join of the same address gets the last index.
func (o Order) Leave(slot Slot, a service.Address) (Order, error) {
	if !slices.Contains(o.Of(a), slot) {
		return o, fmt.Errorf("slot %d does not listen on %s", slot, a)
	}
	return o.leave(slot, []service.Address{a})
}

func (o Order) leave(slot Slot, addresses []service.Address) (Order, error) {
	if len(addresses) == 0 {
		return o, fmt.Errorf("slot %d listens nowhere", slot)
	}
	return o.begin(Leave, slot, addresses)
}

func (o Order) begin(k Kind, slot Slot, addresses []service.Address) (Order, error) {
	if p := o.Pending; p != nil {
		return o, fmt.Errorf("%s of slot %d: the %s of slot %d is still under way", k, slot, p.Kind, p.Slot)
	}
	c := o.Clone()
	c.Pending = &Pending{Kind: k, Slot: slot, Addresses: slices.Clone(addresses)}
	return c, nil
}

// Done applies the pending operation, which the kernel has carried out in full.
func (o Order) Done() Order {
	c := o.Clone()
	if c.Pending == nil {
		return c
	}
	p := *c.Pending
	c.Pending = nil
	for _, a := range p.Addresses {
		c.edit(a, func(s []Slot) []Slot { return apply(s, p.Kind, p.Slot) })
	}
	return c
}

// Drop applies what happened without the agent: slot no longer listens on a,
// because a program shut its socket down. Attach the program of a anew at once.
func (o Order) Drop(slot Slot, a service.Address) Order {
	c := o.Clone()
	c.edit(a, func(s []Slot) []Slot { return swapOut(s, slot) })
	return c
}

// Relisten applies a shutdown and a following listen of one socket: slot leaves
// its index as in a close, then comes last.
func (o Order) Relisten(slot Slot, a service.Address) Order {
	c := o.Clone()
	c.edit(a, func(s []Slot) []Slot { return append(swapOut(s, slot), slot) })
	return c
}

// edit changes the group of a in place, creating or removing it as needed.
func (o *Order) edit(a service.Address, f func([]Slot) []Slot) {
	i := slices.IndexFunc(o.Groups, func(g Group) bool { return g.Address == a })
	if i < 0 {
		o.Groups = append(o.Groups, Group{Address: a})
		i = len(o.Groups) - 1
	}
	o.Groups[i].Slots = f(o.Groups[i].Slots)
	if len(o.Groups[i].Slots) == 0 {
		o.Groups = slices.Delete(o.Groups, i, i+1)
	}
}

func apply(s []Slot, k Kind, slot Slot) []Slot {
	if k == Leave {
		return swapOut(s, slot)
	}
	return append(slices.Clone(s), slot)
}

// swapOut is what reuseport_detach_sock does: the last member moves into the
// index that became free.
func swapOut(s []Slot, slot Slot) []Slot {
	i := slices.Index(s, slot)
	if i < 0 {
		return slices.Clone(s)
	}
	out := slices.Clone(s)
	last := len(out) - 1
	out[i] = out[last]
	return out[:last]
}
