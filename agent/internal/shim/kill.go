package shim

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/cgroup"
)

// maxOps bounds the operations remembered per instance.
const maxOps = 1024

// signal sends one signal to the main process, unless that was done before.
func (s *server) signal(r SignalRequest) error {
	c := s.state.Current
	switch {
	case c == nil || c.Number != r.Instance:
		return fmt.Errorf("signal instance %d: %w", r.Instance, ErrStale)
	case r.Op == "":
		return errors.New("signal: an operation id is required")
	case slices.Contains(c.Ops, r.Op):
		return nil
	}
	c.Stop = c.Stop || r.Stop
	if !c.Alive() {
		return fmt.Errorf("signal instance %d: %w", r.Instance, ErrNotRunning)
	}
	if err := c.remember(r.Op); err != nil {
		return err
	}
	if c.Inherited {
		return os.NewSyscallError("pidfd_send_signal", unix.PidfdSendSignal(s.pidfd, syscall.Signal(r.Signal), nil, 0))
	}
	// Our own child that we have not reaped: the pid cannot be another's.
	return os.NewSyscallError("kill", syscall.Kill(c.Process.PID, syscall.Signal(r.Signal)))
}

func (c *Instance) remember(op string) error {
	if len(c.Ops) >= maxOps {
		return fmt.Errorf("instance %d has had %d operations: restart it to allow more", c.Number, maxOps)
	}
	c.Ops = append(c.Ops, op)
	return nil
}

// kill ends everything the program started.
func (s *server) kill(op string) error {
	c := s.state.Current
	if c == nil || s.state.Empty {
		if c != nil {
			c.Stop = true
		}
		return nil
	}
	if op != "" && !slices.Contains(c.Ops, op) {
		if err := c.remember(op); err != nil {
			return err
		}
	}
	c.Stop, s.state.Killing = true, true
	var err error
	if s.program != nil && s.program.Cgroup != "" {
		err = cgroup.Dir(s.program.Cgroup).Kill()
	}
	if c.Inherited && c.Alive() {
		return errors.Join(err, s.killInherited(c.Process))
	}
	s.killDescendants()
	return err
}

// killDescendants kills all that is below the shim: with or without a cgroup,
// whatever session or group it moved to. It is called again for every child that
// ends, until none is left.
func (s *server) killDescendants() {
	for _, p := range Descendants(s.state.PID) {
		p.kill()
	}
}

// killInherited kills a process that is not below the shim, with its group and
// what is below it.
func (s *server) killInherited(p Process) error {
	for _, d := range Descendants(p.PID) {
		d.kill()
	}
	if p.Same() {
		_ = syscall.Kill(-p.PID, syscall.SIGKILL) // its group, if it leads one
	}
	return os.NewSyscallError("pidfd_send_signal", unix.PidfdSendSignal(s.pidfd, unix.SIGKILL, nil, 0))
}

// kill sends SIGKILL to exactly this process; one that is gone is fine. Where
// the kernel has no pidfds (before 5.3), only the check before narrows the race.
func (p Process) kill() {
	fd, err := p.open()
	if errors.Is(err, unix.ENOSYS) && p.Same() {
		_ = syscall.Kill(p.PID, syscall.SIGKILL)
	}
	if err != nil {
		return
	}
	_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	unix.Close(fd)
}
