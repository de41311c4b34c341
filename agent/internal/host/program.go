package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/shim"
	"github.com/gracefleet/gracefleet/agent/internal/socket"
	"github.com/gracefleet/gracefleet/agent/internal/store"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/internal/handover"
)

// Start runs an instance. What an earlier instance left behind is killed first:
// two of them would meet each other. One that was started before is left alone, with
// its files and secrets, whatever the host has in their place by now.
func (s *slot) Start(ctx context.Context, l supervisor.Launch) (int, error) {
	s.opMu.Lock()
	defer s.opMu.Unlock()
	st, _, _ := s.keeper.snapshot()
	if c := st.Current; c != nil && c.Number < l.Instance && !st.Empty {
		if err := s.kill(ctx, fmt.Sprintf("leftovers-%d", c.Number)); err != nil {
			return 0, startError(err)
		}
	}
	if st.Current != nil {
		s.renewCgroup(l.For)
	}
	if was := int(s.leased.Swap(int64(l.For))); was != l.For {
		s.host.Clear(l.Service, was)
	}
	p, err := s.program(l)
	again := st.Current != nil && st.Current.Number == l.Instance
	if err == nil && !again {
		err = s.host.place(l)
	}
	switch {
	case err == nil:
		s.keeper.mu.Lock()
		s.keeper.program = &p
		s.keeper.mu.Unlock()
	case again:
		s.log.Warn("a program is there that could not be started as things are now", "generation", l.For, "error", err)
		p = shim.Program{Instance: l.Instance} // asks what came of it
	default:
		return 0, launchError(err)
	}
	var i shim.Instance
	err = s.keeper.call(ctx, func(c *shim.Client) error {
		var err error
		i, err = c.Start(ctx, p)
		return err
	})
	if err != nil {
		return 0, startError(err)
	}
	s.keeper.started(i)
	s.expectAt(&p, i.Process.PID)
	return i.Process.PID, nil
}

// expectAt notes where a program holds its listeners, unless it moves them.
func (s *slot) expectAt(p *shim.Program, pid int) {
	for i, name := range p.Sockets {
		l, ok := s.listener(name)
		if !ok {
			continue
		}
		if inode, err := socket.Inode(l.File); err == nil {
			s.foundAt.Store(inode, descriptor{pid, p.Descriptor(i)})
		}
	}
}

// programCgroup is where the slot's first program will be born; empty without
// cgroups. What runs there lost its shim together with the agent, and is killed.
func (s *slot) programCgroup(ctx context.Context) (string, error) {
	d, err := s.host.generationCgroup(s.intent.Service, s.intent.Generation)
	if err != nil || d == "" {
		return "", err
	}
	pids, err := d.Pids()
	if err != nil || len(pids) == 0 {
		return string(d), err
	}
	s.log.Warn("processes that lost their shim are killed: the program is started again", "pids", pids)
	if err := errors.Join(d.Kill(), d.Await(ctx)); err != nil {
		return "", err
	}
	s.removeProgramCgroup(s.intent.Generation)
	d, err = s.host.generationCgroup(s.intent.Service, s.intent.Generation)
	return string(d), err
}

// renewCgroup has the program start in a cgroup that never was killed: Linux 6.18
// kills at once what is cloned into one that ever was (cgroup.kill; a process
// that is moved in lives). One that is in use stays.
func (s *slot) renewCgroup(generation int) {
	if was := int(s.leased.Load()); was != generation {
		s.removeProgramCgroup(was)
	}
	s.removeProgramCgroup(generation)
}

func launchError(err error) error {
	e := &supervisor.StartError{Reason: lifecycle.ReasonInternal, Err: err}
	switch {
	case errors.Is(err, store.ErrDiskFull), errors.Is(err, syscall.ENOSPC):
		e.Reason = lifecycle.ReasonDiskFull
	case errors.Is(err, supervisor.ErrHostFile):
		e.Reason = lifecycle.ReasonHostFile
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrDigestMismatch), errors.Is(err, store.ErrNotExecutable),
		errors.Is(err, store.ErrWrongArchitecture), errors.Is(err, store.ErrMissingInterpreter), errors.Is(err, store.ErrEmpty):
		e.Reason = lifecycle.ReasonNotExecutable
	}
	return e
}

// Current is the latest instance.
func (s *slot) Current(context.Context) (supervisor.Instance, bool, error) {
	st, _, err := s.keeper.snapshot()
	if st.Current == nil {
		return supervisor.Instance{}, false, err
	}
	c := st.Current
	i := supervisor.Instance{
		Number: c.Number, Generation: c.Generation, PID: c.Process.PID,
		Alive: c.Alive(), Ready: c.Ready, Status: c.Status, StartedAt: c.Started,
	}
	if c.Exit != nil {
		i.Exit = exitOf(*c.Exit)
	}
	return i, true, nil
}

func exitOf(x shim.Exit) supervisor.Exit {
	return supervisor.Exit{Code: max(x.Code, 0), Signal: x.Signal, Time: x.Time, Unknown: !x.Known}
}

func instance(st shim.State, number int) *shim.Instance {
	if st.Current != nil && st.Current.Number == number {
		return st.Current
	}
	for i := range st.Past {
		if st.Past[i].Number == number {
			return &st.Past[i]
		}
	}
	return nil
}

// Await returns when an instance has ended.
func (s *slot) Await(ctx context.Context, number int) (supervisor.Exit, error) {
	var x supervisor.Exit
	err := s.keeper.await(ctx, func(st shim.State) bool {
		i := instance(st, number)
		switch {
		case i == nil && st.Current != nil && st.Current.Number > number:
			x = supervisor.Exit{Unknown: true, Time: time.Now().UTC()} // long ago
			return true
		case i == nil || i.Alive():
			return false
		case i.Exit != nil:
			x = exitOf(*i.Exit)
		}
		return true
	})
	return x, err
}

// AwaitNotify returns when the instance's main process has said READY=1.
func (s *slot) AwaitNotify(ctx context.Context, number int) error {
	return s.keeper.await(ctx, func(st shim.State) bool {
		i := instance(st, number)
		return i != nil && i.Ready
	})
}

// AwaitParentSignal returns when the shim received a signal by which programs of
// the dialect say that they serve.
func (s *slot) AwaitParentSignal(ctx context.Context, number int, dialect string) error {
	d, _ := handover.FindDialect(dialect)
	return s.keeper.await(ctx, func(st shim.State) bool {
		i := instance(st, number)
		return i != nil && slices.ContainsFunc(i.Signals, func(r shim.ReceivedSignal) bool {
			return slices.Contains(d.ParentSignals, syscall.Signal(r.Signal))
		})
	})
}

// failField is what the library's Fail puts into a notify datagram.
const failField = "X_GRACEFLEET_FAIL"

// Follow reports what an instance says, each thing once.
func (s *slot) Follow(ctx context.Context, number int, fn func(supervisor.Saying)) error {
	var status, failed string
	ignored, signals := 0, 0
	for {
		st, changed, err := s.keeper.snapshot()
		if err != nil {
			return err
		}
		if i := instance(st, number); i != nil {
			if i.Status != status {
				status = i.Status
				fn(supervisor.Saying{Status: status})
			}
			if f := i.Extra[failField]; f != failed {
				failed = f
				fn(supervisor.Saying{Failed: f})
			}
			for ; ignored < len(i.ReadyIgnored); ignored++ {
				forger := i.ReadyIgnored[ignored]
				fn(supervisor.Saying{Forged: forger, Notice: fmt.Sprintf("READY=1 of process %d does not count: it is not the program's main process %d",
					forger, i.Process.PID)})
			}
			for ; signals < len(i.Signals); signals++ {
				fn(supervisor.Saying{Notice: fmt.Sprintf("the program sent signal %v to its parent: absorbed", syscall.Signal(i.Signals[signals].Signal))})
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.keeper.done:
			return shim.ErrClosed
		}
	}
}

// Signal sends a signal to the main process, once per operation.
func (s *slot) Signal(ctx context.Context, number int, op string, sig int, stop bool) error {
	err := s.keeper.call(ctx, func(c *shim.Client) error {
		return c.Signal(ctx, shim.SignalRequest{Op: op, Instance: number, Signal: sig, Stop: stop})
	})
	if errors.Is(err, shim.ErrNotRunning) || errors.Is(err, shim.ErrStale) {
		return nil // it has ended: that is reported on its own
	}
	return err
}

// Leftovers are the processes that outlived the program which started them.
func (s *slot) Leftovers() []int {
	st, _, _ := s.keeper.snapshot()
	if st.Current == nil || st.Current.Alive() || st.Empty {
		return nil
	}
	return s.processes()
}

// Kill ends the program with everything it started.
func (s *slot) Kill(ctx context.Context, op string) error {
	s.opMu.Lock()
	defer s.opMu.Unlock()
	return s.kill(ctx, op)
}

func (s *slot) kill(ctx context.Context, op string) error {
	s.keeper.refreshNow(ctx)
	if st, _, _ := s.keeper.snapshot(); st.Empty || st.Current == nil {
		return nil
	}
	err := s.keeper.call(ctx, func(c *shim.Client) error { return c.Kill(ctx, op) })
	if err != nil && !errors.Is(err, shim.ErrNotRunning) {
		return err
	}
	return s.keeper.await(ctx, func(st shim.State) bool { return st.Empty })
}

// reloadConfirmed bounds the wait for a program's answer to a reload.
const reloadConfirmed = 2 * time.Second

// Reload sends the reload signal of the preset of that name, or SIGHUP to a program that handles it;
// any other would die of it.
func (s *slot) Reload(ctx context.Context, name string) (bool, error) {
	st, _, err := s.keeper.snapshot()
	if err != nil {
		return false, err
	}
	if !st.Current.Alive() {
		return false, errors.New("no program runs")
	}
	sig := syscall.SIGHUP
	preset, known := handover.FindPreset(name)
	switch {
	case preset.Reload != 0:
		sig = preset.Reload
	case known:
		return false, fmt.Errorf("%w: %s programs cannot read their configuration again: use gracectl restart", supervisor.ErrWrongState, preset.Name)
	case !handles(st.Current.Process.PID, sig):
		return false, fmt.Errorf("%w: it cannot be told whether the program handles SIGHUP, of which it would die: use gracectl restart", supervisor.ErrWrongState)
	}
	before := st.Current.ReadyAt
	op := fmt.Sprintf("reload-%d", time.Now().UnixNano())
	if err := s.Signal(ctx, st.Current.Number, op, int(sig), false); err != nil {
		return false, err
	}
	wait, cancel := context.WithTimeout(ctx, reloadConfirmed)
	defer cancel()
	err = s.keeper.await(wait, func(st shim.State) bool { return st.Current != nil && st.Current.ReadyAt.After(before) })
	return err == nil, nil
}

// realTime are the bits of signals 35 to 64 in a mask.
const realTime = 0xfffffffc00000000

// handles reads SigCgt of /proc/PID/status (proc(5)). A runtime that catches
// every signal, as Go's does, and dies of most, says nothing by that.
func handles(pid int, sig syscall.Signal) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		mask, ok := strings.CutPrefix(line, "SigCgt:")
		if !ok {
			continue
		}
		bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
		return err == nil && bits&realTime != realTime && bits&(1<<(uint(sig)-1)) != 0
	}
	return false
}
