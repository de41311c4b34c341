package socket

import (
	"context"
	"fmt"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Stranger is a listening socket that is not one of ours, with the process that
// holds it if it can be seen (PID 0 if not).
type Stranger struct {
	Listener
	Process
}

// Foreign returns the sockets that share or overlap the address and whose
// cookies are not in ours: before a service starts, somebody who holds its port;
// later, a program that added a listener of its own to the group.
func Foreign(ctx context.Context, a service.Address, ours map[uint64]bool) ([]Stranger, error) {
	listeners, err := Listeners(ctx, a)
	if err != nil {
		return nil, err
	}
	var out []Stranger
	inodes := map[uint64]bool{}
	for _, l := range listeners {
		if !ours[l.Cookie] {
			out = append(out, Stranger{Listener: l})
			inodes[l.Inode] = true
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	found := holders(inodes)
	for i := range out {
		out[i].Process = found[out[i].Inode]
	}
	return out, nil
}

// InUseError says that somebody else listens on an address. PID is 0 where the
// holder cannot be seen; then UID is all that is known.
type InUseError struct {
	Address service.Address // the one wanted
	Holds   service.Address // the one held, which may be wider or narrower
	PID     int
	Program string
	Unit    string
	UID     uint32
}

// InUse makes the error for a stranger on a wanted address.
func InUse(a service.Address, s Stranger) *InUseError {
	return &InUseError{Address: a, Holds: s.Address, PID: s.PID, Program: s.Program, Unit: s.Unit, UID: s.UID}
}

// Error names the holder and what to do.
func (e *InUseError) Error() string {
	holds := ""
	if e.Holds != e.Address {
		holds = fmt.Sprintf(" (it listens on %s)", e.Holds)
	}
	if e.PID == 0 {
		return fmt.Sprintf("%s is in use by a process of uid %d that this user cannot see%s: stop it, or choose another address",
			e.Address, e.UID, holds)
	}
	unit := ""
	if e.Unit != "" {
		unit = ", unit " + e.Unit
	}
	return fmt.Sprintf("%s is in use by %s (pid %d%s)%s: stop it, take it over with gracectl adopt, or choose another address",
		e.Address, e.Program, e.PID, unit, holds)
}
