package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/shim"
	"github.com/gracefleet/gracefleet/agent/internal/socket"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/agent/internal/systemd"
)

// FindProgram finds the program that a unit or a process is, and says whether it
// listens on what a specification declares.
func (h *Host) FindProgram(ctx context.Context, spec service.Spec, unit string, pid int) (supervisor.External, error) {
	x := supervisor.External{PID: pid}
	if unit != "" {
		u, err := systemd.Find(ctx, unit)
		if err != nil {
			return x, notAdoptable(err)
		}
		x.PID, x.Unit, x.Triggers, x.Enabled, x.Dependents = u.PID, u.Name, u.Triggers, u.Enabled, u.Dependents
	}
	p, err := shim.Identify(x.PID)
	if err != nil {
		return x, notAdoptable(fmt.Errorf("there is no process %d", x.PID))
	}
	x.StartTime = p.StartTime
	x.Program, err = os.Readlink(fmt.Sprintf("/proc/%d/exe", x.PID))
	if err != nil {
		return x, notAdoptable(fmt.Errorf("process %d may not be looked at: run graced as root, or as the program's user: %w", x.PID, err))
	}
	if x.Unit == "" {
		err = startedAgain(ctx, x.PID)
	}
	inodes := map[uint64]bool{}
	for _, sock := range spec.Sockets {
		if err == nil {
			var l held
			l, err = h.listenerOf(ctx, spec.Name, x, sock.Address)
			inodes[l.Inode] = true
		}
	}
	if err == nil {
		err = alone(x, inodes)
	}
	return x, notAdoptable(err)
}

// alone refuses a program of which a part that would stay has the listeners, too:
// it could not be replaced by ending what was named.
func alone(x supervisor.External, inodes map[uint64]bool) error {
	family := append([]int{x.PID}, below(x.PID)...)
	for _, p := range socket.HoldersOf(inodes) {
		inUnit := x.Unit != "" && (p.PID == 1 || p.Unit == x.Unit)
		if !inUnit && !slices.Contains(family, p.PID) && p.PID != os.Getpid() {
			return fmt.Errorf("process %d (%s) has the listeners of process %d as well: adopt that one, if it is its parent, or the unit of both", p.PID, p.Program, x.PID)
		}
	}
	return nil
}

func notAdoptable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", supervisor.ErrNotAdoptable, err)
}

// startedAgain refuses a process that a unit would start again once it has ended.
func startedAgain(ctx context.Context, pid int) error {
	name := socket.UnitOf(pid)
	if !strings.HasSuffix(name, ".service") {
		return nil
	}
	if u, err := systemd.Find(ctx, name); err == nil && u.PID == pid {
		return fmt.Errorf("process %d is the main process of %s, which would start it again: adopt it by --unit %s", pid, u.Name, u.Name)
	}
	return nil
}

// held is a listener and where the adopted program has it.
type held struct {
	socket.Listener
	descriptor
}

// listenerOf finds the one socket that listens on an address, in the program.
func (h *Host) listenerOf(ctx context.Context, name string, x supervisor.External, a service.Address) (held, error) {
	if a.Network != service.TCP {
		return held{}, fmt.Errorf("%s: only tcp listeners can be taken over: stop the program and use gracectl apply", a)
	}
	all, err := socket.Listeners(ctx, a)
	if err != nil {
		return held{}, err
	}
	pids := []int{x.PID}
	if x.Unit != "" { // its main process may be a mere wrapper
		pids = append(pids, below(x.PID)...)
	}
	own, known := heldSockets(pids)
	if !known {
		return held{}, fmt.Errorf("the descriptors of process %d may not be looked at: run graced as root, or as the program's user", x.PID)
	}
	var found []held
	for _, l := range all {
		at, ok := own[l.Inode]
		holder := socket.Process{}
		if !ok {
			holder, _ = socket.Holder(l.Inode)
		}
		switch {
		case !ok && (h.ownShim(holder.PID) || runsFor(holder.PID, name)):
			continue // another slot of the same service
		case !ok:
			return held{}, socket.InUse(a, socket.Stranger{Listener: l, Process: holder})
		case l.Address != a:
			return held{}, fmt.Errorf("process %d (%s) listens on %s: declare that in place of %s", x.PID, x.Program, spelled(l.Address), spelled(a))
		}
		found = append(found, held{l, at})
	}
	switch len(found) {
	case 0:
		return held{}, fmt.Errorf("process %d (%s) does not listen on %s%s", x.PID, x.Program, spelled(a), listensElsewhere(own))
	case 1:
		return found[0], nil
	}
	return held{}, fmt.Errorf("process %d (%s) has %d sockets that listen on %s, which share connections by chance (SO_REUSEPORT): have it open one, and adopt it then",
		x.PID, x.Program, len(found), a)
}

// runsFor says whether an agent started a process, for a service.
func runsFor(pid int, name string) bool {
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && slices.Contains(strings.Split(string(environ), "\x00"), "GRACEFLEET_SERVICE="+name)
}

// listensElsewhere helps whoever declared the wrong addresses.
func listensElsewhere(own map[uint64]descriptor) string {
	all, err := socket.TCPListeners()
	if err != nil {
		return ""
	}
	var names []string
	for _, l := range all {
		if _, ok := own[l.Inode]; ok {
			names = append(names, spelled(l.Address))
		}
	}
	if len(names) == 0 {
		return ", nor on any other tcp address"
	}
	return "; it does on " + strings.Join(names, ", ")
}

// spelled is an address as a service file has it.
func spelled(a service.Address) string {
	out := a.String()
	if a.V6Only {
		out += " with v6only: true"
	}
	if a.Device != "" {
		out += " with device: " + a.Device
	}
	return out
}

// spawnBare starts a shim that has nothing to start.
func spawnBare(ctx context.Context, s *slot) (*shim.Client, error) { return s.spawn(ctx, nil) }

// takeOver has a new shim hold an adopted program and its listeners. The program
// notices nothing; if this fails, it is as it was but for socket options.
func (s *slot) takeOver(ctx context.Context, c *shim.Client) error {
	x := *s.intent.External
	in := shim.Inheritance{Process: &shim.Process{PID: x.PID, StartTime: x.StartTime, BootID: s.host.bootID}}
	program, err := s.program(supervisor.Launch{
		Service: s.intent.Service, Generation: s.intent.Generation, For: s.intent.Generation, Instance: 1, Spec: s.intent.Spec,
	})
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
		if _, err := socket.Share(f, in.Sockets[i], owners[i]); err != nil {
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
		inode, err := inodeOf(l.File)
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
		if inode, err := inodeOf(l.File); err == nil && s.origin(l.Socket.Address).foreign {
			inodes[inode] = true
		}
	}
	for _, a := range s.Addresses() {
		found, err := socket.Foreign(ctx, a, ours)
		for _, f := range found {
			if err == nil && f.Address == a && !s.host.ownShim(f.PID) {
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
	for wait := handedOver; wait > 0 && ctx.Err() == nil; wait -= handedOverPoll {
		u, err := systemd.Find(ctx, x.Unit)
		if err != nil && (u.Name == "" || !strings.HasPrefix(u.State, "reloading") && !strings.HasPrefix(u.State, "active")) {
			return x, false
		}
		if err == nil && u.PID != x.PID && s.holdsAll(u.PID) {
			x.PID = u.PID
			return x, s.inherit(ctx, &x) == nil
		}
		if pause(ctx, handedOverPoll) != nil {
			break
		}
	}
	return x, false
}

// holdsAll says whether a process and its descendants have all of the slot's
// listeners.
func (s *slot) holdsAll(pid int) bool {
	held, _ := heldSockets(append([]int{pid}, below(pid)...))
	for _, l := range s.listeners() {
		inode, err := inodeOf(l.File)
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

// ownerFor is the user whom a new member of a group must belong to: that of an
// adopted listener as long as there is one, then the agent's again.
func (t *steering) ownerFor(a service.Address) *int {
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

// Boot has the unit of an adopted program, and what triggers it, start at boot as
// they did, or no longer.
func (h *Host) Boot(ctx context.Context, x supervisor.External, starts bool) error {
	switch {
	case x.Unit == "":
		return nil
	case starts:
		return systemd.Enable(ctx, x.Enabled...)
	}
	return systemd.Disable(ctx, append([]string{x.Unit}, x.Triggers...)...)
}

// Retire has the unit of an adopted program no longer start it, and stopped.
func (h *Host) Retire(ctx context.Context, x supervisor.External) error {
	if x.Unit == "" {
		return nil
	}
	return errors.Join(h.Boot(ctx, x, false), systemd.Stop(ctx, append(slices.Clone(x.Triggers), x.Unit)...))
}

// Bury kills what a generation that lost its shim has left running, and removes
// their cgroups.
func (h *Host) Bury(ctx context.Context, service string, slot, generation int) error {
	programs, err := h.generationCgroup(service, generation)
	if err != nil || programs == "" {
		return err
	}
	if pids, err := programs.Pids(); err == nil && len(pids) > 0 {
		h.log.Warn("processes that lost their shim are killed", "service", service, "generation", generation, "pids", pids)
		if err := errors.Join(programs.Kill(), programs.Await(ctx)); err != nil {
			return err
		}
	}
	shims, err := h.slotCgroup(service, slot)
	return errors.Join(err, programs.Remove(), shims.Remove())
}
