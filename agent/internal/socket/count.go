package socket

import (
	"context"
	"net/netip"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Count says how many connections a slot has. Open is Active + Idle + Stalled.
type Count struct {
	// Open connections: those the program has, and those it has yet to accept.
	Open int
	// Closing ones have been closed by the program already; the kernel still
	// delivers what they hold. They hold nothing up.
	Closing int
	// Active, Idle and Stalled divide Open as of the last full listing. Idle: no
	// byte waits either way and the last thing that happened, over 100 ms ago,
	// was an answer. Stalled: the peer has not taken data for several
	// retransmissions or probes. Unix connections are active or idle by whether
	// bytes wait.
	Active, Idle, Stalled int
	// BytesPending have been received and not read, or sent and not acknowledged.
	BytesPending uint64
	// Known is false where the kernel offers no way to tell; then all else is 0.
	Known bool
}

// Scope says which connections belong to a slot.
type Scope struct {
	// Cgroups are the ids (the inodes of the directories) of the cgroups in which the
	// slot's listeners were created; accepted connections inherit it, whoever
	// holds them. None if there is none.
	Cgroups []uint64
	// Addresses of the slot. Only tcp and unix have connections.
	Addresses []service.Address
	// Paths are the private names of the slot's unix sockets.
	Paths []string
	// PIDs returns the program's processes now: where the cgroup cannot be used,
	// connections are matched with their descriptors, which leaves out those not
	// yet accepted (see Queue). nil means this cannot be done.
	PIDs func() []int
	// Except, if set, leaves out connections by cookie: those handed to another
	// generation, or that an earlier lease of the slot left.
	Except func(cookie uint64) bool

	lacks features
}

// features that tests take away to reach the fallbacks.
type features struct {
	cgroupFilter bool
	destroyed    bool
}

// CountNow counts once.
func CountNow(ctx context.Context, s Scope) (Count, error) {
	conns, known, err := s.list(ctx)
	if err != nil || !known {
		return Count{}, err
	}
	return sum(conns), nil
}

// Cookies returns the connections in the scope, closing ones included: the
// baseline of a slot that is leased anew.
func Cookies(ctx context.Context, s Scope) (map[uint64]bool, error) {
	conns, _, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[uint64]bool, len(conns))
	for cookie, c := range conns {
		if !c.listener {
			out[cookie] = true
		}
	}
	return out, nil
}

// Peers returns the remote addresses of the open connections, to name who was
// cut. Unix peers have none.
func Peers(ctx context.Context, s Scope) ([]netip.AddrPort, error) {
	conns, _, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	var out []netip.AddrPort
	for _, c := range conns {
		if c.class != closing && c.peer.IsValid() {
			out = append(out, c.peer)
		}
	}
	return out, nil
}

type class uint8

const (
	active class = iota
	idle
	stalled
	closing
)

// connection is what a count remembers of one, or of a unix listener's queue.
type connection struct {
	class class
	bytes uint64
	peer  netip.AddrPort

	listener bool
	queued   int // on a listener
}

func (c connection) size() int {
	if c.listener {
		return c.queued
	}
	return 1
}

func sum(conns map[uint64]connection) Count {
	n := Count{Known: true}
	for _, c := range conns {
		n.add(c, c.size())
	}
	return n
}

// add adds connections of one kind, or takes them away (by < 0).
func (n *Count) add(c connection, by int) {
	if c.class == closing {
		n.Closing += by
		return
	}
	n.Open += by
	n.BytesPending += c.bytes * uint64(by)
	switch c.class {
	case active:
		n.Active += by
	case idle:
		n.Idle += by
	case stalled:
		n.Stalled += by
	}
}
