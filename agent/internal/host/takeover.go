package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/shim"
	"github.com/gracefleet/gracefleet/agent/internal/socket"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

// spawnBare starts a shim that has nothing to start.
func spawnBare(ctx context.Context, s *slot) (*shim.Client, error) { return s.spawn(ctx, nil) }

// takeOver has a new shim hold an adopted program and its listeners. The program
// notices nothing; if this fails, it is as it was but for socket options.
func (s *slot) takeOver(ctx context.Context, c *shim.Client) error {
	x := *s.intent.External
	in := shim.Inheritance{Process: &shim.Process{PID: x.PID, StartTime: x.StartTime, BootID: s.host.bootID}}
	launch := supervisor.Launch{
		Service: s.intent.Service, Generation: s.intent.Generation, For: s.intent.Generation, Instance: 1, Spec: s.intent.Spec,
	}
	program, err := s.program(launch)
	if err == nil {
		err = s.host.place(launch)
	}
	if err != nil {
		return err
	}
	in.Program = &program
	defer func() {
		for _, f := range in.Files {
			f.Close()
		}
	}()
	var owners []int
	for _, sock := range s.intent.Spec.Sockets {
		f, owner, err := s.host.takeListener(ctx, s.intent.Service, x, in.Process, sock)
		if err != nil {
			return err
		}
		in.Sockets, in.Files, owners = append(in.Sockets, sock), append(in.Files, f), append(owners, owner)
	}
	for i, f := range in.Files { // all or none of them are touched
		if err := socket.Share(f, in.Sockets[i], owners[i]); err != nil {
			return err
		}
	}
	if err := c.Inherit(ctx, in); err != nil {
		return err
	}
	listeners, err := c.Listeners(ctx)
	if err != nil {
		return errors.Join(err, c.Dismiss(ctx, true))
	}
	s.taken = &program
	s.held.Store(&listeners)
	s.recognise(ctx)
	return nil
}

func (h *Host) takeListener(ctx context.Context, service string, x supervisor.External, p *shim.Process, sock service.Socket) (f *os.File, owner int, err error) {
	l, err := h.listenerOf(ctx, service, x, sock.Address)
	if err != nil {
		return nil, 0, err
	}
	pidfd, err := unix.PidfdOpen(l.pid, 0)
	if err != nil {
		return nil, 0, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	if !p.Same() {
		return nil, 0, fmt.Errorf("process %d has ended meanwhile", x.PID)
	}
	f, err = socket.Take(pidfd, l.fd, l.Inode, sock.Address.String())
	return f, int(l.UID), err
}

// origin is what the kernel remembers of who made a listener.
type origin struct {
	cgroup uint64 // 0 if the kernel does not tell
	owner  int
	// foreign ones were made by an adopted program, not by a shim.
	foreign bool
}

// recognise looks up who made the slot's listeners, and by which name the kernel
// lists them: a multipath TCP socket has another one than it says itself.
func (s *slot) recognise(ctx context.Context) {
	listeners := slices.Clone(s.listeners())
	origins := map[service.Address]origin{}
	for i, l := range listeners {
		a := l.Socket.Address
		inode, err := socket.Inode(l.File)
		if err != nil || a.Network != service.TCP {
			continue
		}
		all, err := socket.Listeners(ctx, a)
		if err != nil {
			s.log.Warn("cannot look who listens on an address", "address", a.String(), "error", err)
			continue
		}
		for _, k := range all {
			if k.Inode == inode {
				listeners[i].Cookie = k.Cookie
				origins[a] = s.originOf(k)
			}
		}
	}
	s.held.Store(&listeners)
	s.origins.Store(&origins)
}

func (s *slot) originOf(k socket.Listener) origin {
	o := origin{cgroup: k.Cgroup, owner: int(k.UID)}
	if own, err := s.cgroup.ID(); err == nil && k.Cgroup != 0 {
		o.foreign = k.Cgroup != own
	} else {
		o.foreign = o.owner != os.Geteuid()
	}
	return o
}

func (s *slot) origin(a service.Address) origin {
	if all := s.origins.Load(); all != nil {
		return (*all)[a]
	}
	return origin{}
}

// creators are the cgroups that the slot's connections carry; none if it is the
// shim's alone, or cannot be told.
func (s *slot) creators() []uint64 {
	var out []uint64
	for _, a := range s.Addresses() {
		o := s.origin(a)
		if o.foreign && o.cgroup == 0 {
			return nil
		}
		if o.foreign && !slices.Contains(out, o.cgroup) {
			out = append(out, o.cgroup)
		}
	}
	return out
}

// adopted says whether a listener of the slot was made by an adopted program.
func (s *slot) adopted() bool {
	return slices.ContainsFunc(s.Addresses(), func(a service.Address) bool { return s.origin(a).foreign })
}
