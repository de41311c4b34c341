package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// list returns the connections of the scope by cookie; known is false where
// they cannot be told.
func (s Scope) list(ctx context.Context) (conns map[uint64]connection, known bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	conns = map[uint64]connection{}
	if len(s.requests()) > 0 {
		if known, err = s.listInet(conns); err != nil || !known {
			return nil, false, err
		}
	}
	if len(s.Paths) > 0 {
		if err := s.listUnix(conns); err != nil {
			return nil, false, err
		}
		known = true
	}
	return conns, known, nil
}

// requests are the dumps that cover the scope's tcp addresses.
func (s Scope) requests() []inetRequest {
	var out []inetRequest
	for _, a := range s.Addresses {
		if a.Network != service.TCP {
			continue
		}
		r := inetRequest{family: family(a), proto: unix.IPPROTO_TCP, states: fullStates, port: a.Port, info: true}
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

func (s Scope) listInet(conns map[uint64]connection) (known bool, err error) {
	return s.visitInet(func(c *inetSock) {
		conns[c.cookie] = connection{class: classify(c), bytes: uint64(c.rqueue) + uint64(c.wqueue), peer: unmap(c.remote)}
	})
}

// visitInet calls visit with each tcp connection of the scope; known is false
// where they cannot be told.
func (s Scope) visitInet(visit func(*inetSock)) (known bool, err error) {
	if len(s.Cgroups) > 0 && !s.lacks.cgroupFilter {
		err := s.visitEach(visit)
		// Kernels before 5.9 do not know the filter.
		if err == nil || !errors.Is(err, unix.EINVAL) {
			return err == nil, err
		}
	}
	if s.PIDs == nil {
		return false, nil
	}
	held, err := heldBy(s.PIDs())
	if err != nil {
		return false, err
	}
	if held == nil {
		return false, nil
	}
	err = s.visitBy(0, func(c *inetSock) {
		if held[c.inode] {
			visit(c)
		}
	})
	return err == nil, err
}

// visitEach calls visit with what each of the scope's cgroups has.
func (s Scope) visitEach(visit func(*inetSock)) error {
	for _, id := range s.Cgroups {
		if err := s.visitBy(id, visit); err != nil {
			return err
		}
	}
	return nil
}

func (s Scope) visitBy(cgroup uint64, visit func(*inetSock)) error {
	for _, r := range s.requests() {
		r.cgroup = cgroup
		err := inetDump(r, func(c *inetSock) {
			if !s.excepted(c.cookie) {
				visit(c)
			}
		})
		if err != nil {
			return fmt.Errorf("list the connections on port %d: %w", r.port, err)
		}
	}
	return nil
}

func (s Scope) excepted(cookie uint64) bool {
	return s.Except != nil && s.Except(cookie)
}

// heldBy returns the sockets of some processes; nil if this user may not look.
func heldBy(pids []int) (map[uint64]bool, error) {
	all := map[uint64]bool{}
	for _, pid := range pids {
		sockets, err := HeldBy(pid)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH):
			continue // ended meanwhile
		case errors.Is(err, fs.ErrPermission):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("read the descriptors of process %d: %w", pid, err)
		}
		for ino := range sockets {
			all[ino] = true
		}
	}
	return all, nil
}

const (
	idleAfter    = 100 // milliseconds
	stalledAfter = 3   // doublings: some seconds without progress
)

// classify: a socket without inode belongs to no descriptor. In the states that
// only a close by our side leads to, the program has let go of it; otherwise it
// still waits to be accepted.
func classify(c *inetSock) class {
	switch {
	case c.inode == 0 && c.state != tcpEstablished && c.state != tcpCloseWait:
		return closing
	case c.backoff >= stalledAfter:
		return stalled
	case c.inode == 0 || c.rqueue > 0 || c.wqueue > 0:
		return active
	case c.lastSent <= c.lastReceived && c.lastSent > idleAfter:
		return idle
	}
	return active
}

// listUnix: the kernel does not list connections that wait to be accepted, but
// says how many each listener has.
func (s Scope) listUnix(conns map[uint64]connection) error {
	err := unixDump(1<<tcpEstablished|listenStates, func(c *unixSock) {
		if !slices.Contains(s.Paths, c.path) {
			return
		}
		if c.state == tcpListen {
			conns[c.cookie] = connection{class: active, queued: int(c.rqueue), listener: true}
			return
		}
		if s.excepted(c.cookie) {
			return
		}
		u := connection{class: idle, bytes: uint64(c.rqueue) + uint64(c.wqueue)}
		if u.bytes > 0 {
			u.class = active
		}
		conns[c.cookie] = u
	})
	if err != nil {
		return fmt.Errorf("count the connections of unix sockets: %w", err)
	}
	return nil
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
