package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/shim"
	"github.com/gracefleet/gracefleet/agent/internal/socket"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/agent/internal/systemd"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// Holders are those who would have a place in the groups after the slot is closed:
// strangers, and whoever else has an adopted listener.
func (s *slot) Holders(ctx context.Context) []string {
	var out []string
	ours := s.host.cookies(s.intent.Service)
	inodes := map[uint64]bool{}
	for _, l := range s.listeners() {
		if l.Socket.Address.Network == service.Unix {
			continue
		}
		ours[l.Cookie] = true
		if inode, err := socket.Inode(l.File); err == nil && s.origin(l.Socket.Address).foreign {
			inodes[inode] = true
		}
	}
	for _, a := range s.Addresses() {
		found, err := socket.Foreign(ctx, a, ours)
		for _, f := range found {
			if err == nil && f.Address == a && !s.ours(f.PID) {
				out = append(out, fmt.Sprintf("process %d (%s), with a socket of its own", f.PID, f.Program))
			}
		}
	}
	if len(inodes) == 0 {
		return out
	}
	for _, p := range socket.HoldersOf(inodes) {
		if p.PID != os.Getpid() && !s.host.ownShim(p.PID) {
			out = append(out, fmt.Sprintf("process %d (%s)", p.PID, p.Program))
		}
	}
	return out
}

// ours says whether a process belongs to the agent: a slot that is just being opened
// is not among the open ones yet.
func (s *slot) ours(pid int) bool {
	return pid == os.Getpid() || s.host.ownShim(pid) || runsFor(pid, s.intent.Service)
}

const (
	// handedOver is how long systemd may take to know of a new main process.
	handedOver     = 500 * time.Millisecond
	handedOverPoll = 50 * time.Millisecond
)

// Successor finds the process to which an adopted program handed over, as on a
// reload that starts it anew, and takes that in its place.
func (s *slot) Successor(ctx context.Context) (supervisor.External, bool) {
	s.opMu.Lock()
	defer s.opMu.Unlock()
	if s.intent.External == nil || s.intent.External.Unit == "" {
		return supervisor.External{}, false
	}
	x := *s.intent.External
	for wait := handedOver; wait > 0; wait -= handedOverPoll {
		u, err := systemd.Find(ctx, x.Unit)
		if err != nil && (u.Name == "" || !strings.HasPrefix(u.State, "reloading") && !strings.HasPrefix(u.State, "active")) {
			return x, false
		}
		if err == nil && u.PID != x.PID && s.holdsAll(u.PID) {
			x.PID = u.PID
			return x, s.inherit(ctx, &x) == nil
		}
		if pause.For(ctx, handedOverPoll) != nil {
			return x, false
		}
	}
	return x, false
}

// holdsAll says whether a process and its descendants have all of the slot's
// listeners.
func (s *slot) holdsAll(pid int) bool {
	held, _ := heldSockets(append([]int{pid}, below(pid)...))
	for _, l := range s.listeners() {
		inode, err := socket.Inode(l.File)
		if _, ok := held[inode]; err != nil || !ok {
			return false
		}
	}
	return true
}

// inherit has the shim look after another process in place of one that ended.
func (s *slot) inherit(ctx context.Context, x *supervisor.External) error {
	p, err := shim.Identify(x.PID)
	if err != nil {
		return err
	}
	x.StartTime = p.StartTime
	s.keeper.mu.Lock()
	program := s.keeper.program
	s.keeper.mu.Unlock()
	if program == nil {
		return errors.New("the program is not known")
	}
	err = s.keeper.call(ctx, func(c *shim.Client) error {
		return c.Inherit(ctx, shim.Inheritance{Program: program, Process: &p})
	})
	if err == nil {
		s.keeper.refreshNow(ctx)
		s.intent.External = x
	}
	return err
}

// settleOwner says to whom a new member of a group must belong: the user of an
// adopted listener as long as there is one. Then the group is made the agent's own
// again, and the answer is nil.
func (t *steering) settleOwner(a service.Address) *int {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.slots {
		if o := s.origin(a); o.foreign {
			return &o.owner
		}
	}
	for _, s := range t.slots {
		for _, l := range s.listeners() {
			if l.Socket.Address != a || a.Network != service.TCP {
				continue
			}
			if err := listen.Own(l.File, os.Geteuid()); err != nil {
				t.log.Warn("a listener stays its adopted predecessor's", "address", a.String(), "error", err)
			}
		}
	}
	return nil
}
