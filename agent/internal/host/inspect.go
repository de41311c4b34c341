package host

import (
	"context"
	"fmt"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/shim"
	"github.com/gracefleet/gracefleet/agent/internal/socket"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

// Inspect looks at what a program may have done to its slot. What hurts nobody
// else is repaired; the rest is a *supervisor.Problem. A deep look also goes
// through the kernel's listeners.
func (s *slot) Inspect(ctx context.Context, deep bool) error {
	for _, l := range s.listeners() {
		a := l.Socket.Address
		if a.Network == service.UDP {
			continue
		}
		if !listen.Accepting(l.File) {
			return &supervisor.Problem{
				Reason: lifecycle.ReasonListenerLost,
				Err:    fmt.Errorf("the program shut its listener on %s down", a),
			}
		}
		s.repair(l)
	}
	if err := s.closedListener(); err != nil || !deep {
		return err
	}
	return s.strangers(ctx)
}

// repair restores what a program changed on the shared socket.
func (s *slot) repair(l shim.Listener) {
	want := l.Socket.Backlog
	if want == 0 {
		want = service.DefaultBacklog
	}
	if _, limit, err := socket.Queue(l.File); err == nil && limit < want {
		if err := socket.RestoreBacklog(l.File, want); err != nil {
			s.log.Warn("a shrunken backlog cannot be restored", "socket", l.Socket.Name, "error", err)
		}
	}
}

// closedListener notices a program that closed its descriptors: the slot still
// listens, but nobody accepts. Where a listener was found last is looked at first:
// a program may have as many descriptors as connections.
func (s *slot) closedListener() error {
	missing := map[uint64]service.Address{} // by inode
	for _, l := range s.listeners() {
		inode, err := socket.Inode(l.File)
		if err == nil && l.Socket.Address.Network != service.UDP && !s.stillHeld(inode) {
			missing[inode] = l.Socket.Address
		}
	}
	if len(missing) == 0 {
		return nil
	}
	held, known := heldSockets(s.processes())
	if !known {
		return nil
	}
	for inode, address := range missing {
		at, ok := held[inode]
		if !ok {
			return &supervisor.Problem{
				Reason: lifecycle.ReasonListenerLost,
				Err:    fmt.Errorf("the program closed its listener on %s", address),
			}
		}
		s.foundAt.Store(inode, at)
	}
	return nil
}

func (s *slot) stillHeld(inode uint64) bool {
	at, ok := s.foundAt.Load(inode)
	if !ok {
		return false
	}
	d := at.(descriptor)
	now, ok := socket.HeldAt(d.pid, d.fd)
	return ok && now == inode
}

// strangers are sockets that are not the agent's in the slot's groups: they take
// connections, and shift every index.
func (s *slot) strangers(ctx context.Context) error {
	ours := s.host.cookies(s.intent.Service)
	for _, l := range s.listeners() {
		if l.Socket.Address.Network == service.Unix {
			continue
		}
		found, err := socket.Foreign(ctx, l.Socket.Address, ours)
		if err != nil || len(found) == 0 {
			continue
		}
		f := found[0]
		return &supervisor.Problem{
			Reason: lifecycle.ReasonStranger,
			Err: fmt.Errorf("process %d (%s) listens on %s beside the agent's sockets, with SO_REUSEPORT: let it use the descriptors it is given",
				f.PID, f.Program, f.Address),
		}
	}
	return nil
}

// Undeclared are the addresses on which the program listens by itself.
func (s *slot) Undeclared() ([]service.Address, error) {
	held, known := heldSockets(s.processes())
	if !known {
		return nil, nil
	}
	for _, l := range s.listeners() {
		if inode, err := socket.Inode(l.File); err == nil {
			delete(held, inode)
		}
	}
	return listening(held)
}

// cookies are the sockets of all open slots of a service.
func (h *Host) cookies(service string) map[uint64]bool {
	t := h.steeringOf(service)
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[uint64]bool{}
	for _, s := range t.slots {
		for _, l := range s.listeners() {
			out[l.Cookie] = true
		}
	}
	return out
}
