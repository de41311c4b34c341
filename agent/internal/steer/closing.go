package steer

import "github.com/gracefleet/gracefleet/agent/internal/service"

// Closable says whether all sockets of slot may be closed now without one
// connection going astray, even if nobody attaches a program afterwards. If not,
// the slot is parked: left open and watched at weight 0 until it is.
//
// In each of its groups the slot must have weight 0 and no probes, or be the
// only member; and it must be the last, or the last (which moves into its index)
// must have weight 0 and no probes, or a single member must remain (any answer
// of a program then leads to that one).
func (o Order) Closable(slot Slot, w Weights) bool {
	for _, a := range o.Addresses(slot) {
		if !closableIn(o.Of(a), slot, w) {
			return false
		}
	}
	return true
}

// ClosableOn is Closable for the socket of one address.
func (o Order) ClosableOn(slot Slot, a service.Address, w Weights) bool {
	return closableIn(o.Of(a), slot, w)
}

func closableIn(group []Slot, slot Slot, w Weights) bool {
	if len(group) <= 1 {
		return true
	}
	if w.Used(slot) {
		return false
	}
	last := group[len(group)-1]
	return last == slot || len(group) == 2 || !w.Used(last)
}
