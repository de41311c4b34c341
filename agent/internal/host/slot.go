package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/agent/internal/cgroup"
	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/shim"
	"github.com/gracefleet/gracefleet/agent/internal/socket"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

// slot is one open slot. It implements supervisor.Slot.
type slot struct {
	host   *Host
	log    hclog.Logger
	intent supervisor.SlotIntent
	dir    string
	cgroup cgroup.Dir // of the shim: accepted connections carry it
	keeper *keeper
	paths  map[string]pathPair // by name of unix sockets

	held    atomic.Pointer[[]shim.Listener]
	leased  atomic.Int64 // generation that has the slot
	guarded atomic.Bool
	origins atomic.Pointer[map[service.Address]origin]
	taken   *shim.Program // what an adopted program was given to the shim as
	foundAt sync.Map      // where in /proc a listener's inode was seen last
	opMu    sync.Mutex    // one Start, Kill or Close at a time
}

// Open starts the slot's shim, unless Prepare has, and has it create the sockets.
func (h *Host) Open(ctx context.Context, in supervisor.SlotIntent) (supervisor.Slot, error) {
	s, err := h.newSlot(in)
	if err != nil {
		return nil, startError(err)
	}
	prepare, open := h.takePrepared, s.open
	if in.External != nil {
		prepare, open = spawnBare, s.takeOver
	}
	client, err := prepare(ctx, s)
	if err != nil {
		return nil, startError(err)
	}
	if err := open(ctx, client); err != nil {
		s.abandon(ctx, client)
		_ = s.remove(ctx)
		return nil, startError(err)
	}
	s.keeper = keep(s, client)
	return s, nil
}

func (h *Host) newSlot(in supervisor.SlotIntent) (*slot, error) {
	group, err := h.slotCgroup(in.Service, in.Slot)
	if err != nil {
		return nil, err
	}
	s := &slot{
		host: h, log: h.log.With("service", in.Service, "slot", in.Slot), intent: in,
		dir: h.shimDir(in.Service, in.Slot), cgroup: group, paths: map[string]pathPair{},
	}
	s.leased.Store(int64(in.Generation))
	for _, sock := range in.Spec.Sockets {
		if sock.Address.Network == service.Unix {
			s.paths[sock.Name] = pathsOf(sock, in.Slot)
		}
	}
	return s, nil
}

func (s *slot) open(ctx context.Context, c *shim.Client) error {
	options := map[string]listen.Options{}
	for _, sock := range s.intent.Spec.Sockets {
		o := listen.Options{Owner: s.host.steeringOf(s.intent.Service).settleOwner(sock.Address)}
		if p, ok := s.paths[sock.Name]; ok {
			if err := p.prepare(); err != nil {
				return err
			}
			o.PrivatePath = p.private
		}
		for _, a := range s.intent.New {
			o.Guard = o.Guard || a == sock.Address
		}
		if o.Guard {
			s.guarded.Store(true)
		}
		options[sock.Name] = o
	}
	held, err := c.Open(ctx, s.intent.Spec.Sockets, options)
	if guardRefused(err) {
		// Without root some kernels take no filter on a tcp socket.
		s.log.Warn("a new address is open to users before the generation is ready", "error", err)
		for name, o := range options {
			o.Guard = false
			options[name] = o
		}
		held, err = c.Open(ctx, s.intent.Spec.Sockets, options)
	}
	if err != nil {
		return err
	}
	for _, p := range s.paths {
		if err := p.keep(); err != nil {
			return err
		}
	}
	s.held.Store(&held)
	return nil
}

func guardRefused(err error) bool {
	var l *listen.Error
	return errors.As(err, &l) && l.Step == "guard" && errors.Is(err, syscall.EPERM)
}

// Adopt finds the shim of a slot that an earlier agent opened.
func (h *Host) Adopt(ctx context.Context, in supervisor.SlotIntent) (supervisor.Slot, error) {
	s, err := h.newSlot(in)
	if err != nil {
		return nil, err
	}
	client, err := shim.Dial(ctx, s.dir)
	if errors.Is(err, shim.ErrGone) && in.External != nil {
		return h.takeAgain(ctx, in, err)
	}
	if errors.Is(err, shim.ErrGone) {
		return nil, fmt.Errorf("%w: %w", supervisor.ErrSlotGone, err)
	}
	if err != nil {
		return nil, err
	}
	if id := client.Hello().State.StateID; id != h.store.ID() {
		client.Close()
		return nil, fmt.Errorf("the shim in %s belongs to the agent of another state directory (%s): it is left alone", s.dir, id)
	}
	held, err := client.Listeners(ctx)
	if err != nil {
		client.Close()
		return nil, err
	}
	if len(held) == 0 && len(in.Spec.Sockets) > 0 {
		return h.neverInherited(ctx, in, client)
	}
	s.held.Store(&held)
	s.recognise(ctx)
	s.guarded.Store(true) // perhaps: taking a guard away that is not there is harmless
	s.keeper = keep(s, client)
	return s, nil
}

// neverInherited ends a shim that was to have a slot's sockets when the agent that
// started it ended: the slot is gone, and the shim would be in the way of another.
func (h *Host) neverInherited(ctx context.Context, in supervisor.SlotIntent, c *shim.Client) (supervisor.Slot, error) {
	defer c.Close()
	gone := errors.New("its shim has no sockets: the agent that started it ended before it gave them to it")
	if err := c.Dismiss(ctx, true); err != nil {
		return nil, fmt.Errorf("%w; nor could it be ended: %w", gone, err)
	}
	if in.External != nil {
		return h.takeAgain(ctx, in, gone)
	}
	return nil, fmt.Errorf("%w: %w", supervisor.ErrSlotGone, gone)
}

// takeAgain takes an adopted program over from a shim that died with its agent.
func (h *Host) takeAgain(ctx context.Context, in supervisor.SlotIntent, gone error) (supervisor.Slot, error) {
	s, err := h.Open(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; %w", supervisor.ErrSlotGone, gone, err)
	}
	return s, nil
}

func (s *slot) listeners() []shim.Listener {
	if p := s.held.Load(); p != nil {
		return *p
	}
	return nil
}

func (s *slot) listener(name string) (shim.Listener, bool) {
	for _, l := range s.listeners() {
		if l.Socket.Name == name {
			return l, true
		}
	}
	return shim.Listener{}, false
}

// Addresses are those that form groups in the kernel.
func (s *slot) Addresses() []service.Address {
	var out []service.Address
	for _, l := range s.listeners() {
		if l.Socket.Address.Network != service.Unix {
			out = append(out, l.Socket.Address)
		}
	}
	return out
}

// Listening says whether the slot is a member of an address's group.
func (s *slot) Listening(a service.Address) bool {
	for _, l := range s.listeners() {
		if l.Socket.Address == a {
			return a.Network == service.UDP || listen.Accepting(l.File)
		}
	}
	return false
}

func (s *slot) targets() []socket.Target {
	var out []socket.Target
	for _, l := range s.listeners() {
		out = append(out, socket.Target{File: l.File, Address: l.Socket.Address})
	}
	return out
}

// dismiss ends the shim, which closes the sockets; closeFiles closes the rest.
func (s *slot) dismiss(ctx context.Context) error {
	s.opMu.Lock()
	defer s.opMu.Unlock()
	return s.keeper.dismiss(ctx)
}

// remove removes what a slot's shim leaves on the host.
func (s *slot) remove(ctx context.Context) error {
	for _, p := range s.paths {
		s.host.steeringOf(s.intent.Service).withdraw(p)
		p.remove()
	}
	s.removeCgroups(ctx)
	var errs []error
	for _, generation := range []int{s.intent.Generation, int(s.leased.Load())} {
		errs = append(errs, s.host.clear(s.intent.Service, generation))
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// shimEnd is how long a dismissed shim may take to be gone.
const shimEnd = time.Second

func (s *slot) removeCgroups(ctx context.Context) {
	if s.cgroup == "" {
		return
	}
	// The shim answers first and ends then; a cgroup with a process stays.
	ctx, cancel := context.WithTimeout(ctx, shimEnd)
	defer cancel()
	if err := s.cgroup.Await(ctx); err != nil {
		s.log.Debug("a dismissed shim lives on", "error", err)
	}
	s.removeCgroup(s.cgroup)
	s.removeProgramCgroup(int(s.leased.Load()))
}

func (s *slot) removeProgramCgroup(generation int) {
	if d, err := s.host.generationCgroup(s.intent.Service, generation); err == nil && d != "" {
		s.removeCgroup(d)
	}
}

func (s *slot) removeCgroup(d cgroup.Dir) {
	if err := d.Remove(); err != nil {
		s.log.Debug("a cgroup is left", "error", err)
	}
}

// Detach lets go: shim and program live on.
func (s *slot) Detach() {
	s.keeper.detach()
	s.closeFiles()
}

func (s *slot) closeFiles() {
	for _, l := range s.listeners() {
		l.File.Close()
	}
}

func (s *slot) unguard() {
	if !s.guarded.CompareAndSwap(true, false) {
		return
	}
	for _, l := range s.listeners() {
		if err := listen.Unguard(l.File); err != nil {
			s.log.Error("a new address cannot be opened to users", "address", l.Socket.Address.String(), "error", err)
		}
	}
}

// startError finds the reason an upgrade is given.
func startError(err error) error {
	var l *listen.Error
	var x *shim.ExecError
	e := &supervisor.StartError{Reason: lifecycle.ReasonInternal, Err: err}
	switch {
	case errors.As(err, &l):
		e.Errno = int(l.Errno)
		e.Reason = lifecycle.ReasonAddressInUse
	case errors.As(err, &x):
		e.Errno = int(x.Errno)
		e.Reason = lifecycle.ReasonExecFailed
	}
	return e
}
