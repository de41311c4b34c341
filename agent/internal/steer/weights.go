package steer

import (
	"fmt"
	"maps"
	"slices"
)

// Whole is the sum of all shares, in basis points.
const Whole = 10000

// Weights says who gets new connections.
type Weights struct {
	// Share of new connections of each slot in basis points; they sum to Whole,
	// or there are none. A slot that is not listed has weight 0.
	Share map[Slot]int `json:"share,omitempty"`
	// Probe is the slot that private probes go to, whatever the shares; 0 is none.
	Probe Slot `json:"probe,omitempty"`
	// ProbePorts are the source ports that mark a probe of an IPv6 socket.
	ProbePorts []uint16 `json:"probe_ports,omitempty"`
}

// All gives every new connection to one slot.
func All(slot Slot) Weights {
	return Weights{Share: map[Slot]int{slot: Whole}}
}

// Split gives share basis points to candidate and the rest to active.
func Split(active, candidate Slot, share int) Weights {
	w := Weights{Share: map[Slot]int{}}
	if share < Whole {
		w.Share[active] = Whole - share
	}
	if share > 0 {
		w.Share[candidate] = share
	}
	return w
}

// Clone returns Weights that share no memory with w.
func (w Weights) Clone() Weights {
	w.Share = maps.Clone(w.Share)
	w.ProbePorts = slices.Clone(w.ProbePorts)
	return w
}

// Used says whether new connections may go to slot: by its share or as probes.
func (w Weights) Used(slot Slot) bool {
	return w.Share[slot] > 0 || (w.Probe != 0 && w.Probe == slot)
}

// Check says whether the shares are in range and sum to Whole.
func (w Weights) Check() error {
	sum := 0
	for slot, n := range w.Share {
		if slot <= 0 || n < 0 || n > Whole {
			return fmt.Errorf("slot %d has a share of %d: want 0 to %d", slot, n, Whole)
		}
		sum += n
	}
	if len(w.Share) > 0 && sum != Whole {
		return fmt.Errorf("the shares sum to %d, not to %d", sum, Whole)
	}
	return nil
}

// part is one slot's share of an address, by kernel index.
type part struct {
	index int
	share int
}

// parts are the shares of the slots that are members of group. Where a weighted
// slot does not have the address, the others take its share in proportion. They
// are sorted by slot, not by index: a flow's hash then leads to the same slot
// after indices have changed.
func (w Weights) parts(group []Slot) []part {
	var out []part
	sum := 0
	for _, slot := range slices.Sorted(maps.Keys(w.Share)) {
		i := slices.Index(group, slot)
		if i < 0 || w.Share[slot] == 0 {
			continue
		}
		out = append(out, part{index: i, share: w.Share[slot]})
		sum += w.Share[slot]
	}
	if sum == 0 || sum == Whole {
		return out
	}
	rest := Whole
	for i := range out {
		out[i].share = out[i].share * Whole / sum
		rest -= out[i].share
	}
	out[len(out)-1].share += rest
	return out
}
