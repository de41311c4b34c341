package shim

import (
	"context"
	"fmt"
	"math"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/cgroup"
)

// reapChildren collects every child that ends: the program, and descendants of
// it that became the shim's by losing their parent.
func (s *server) reapChildren(children <-chan os.Signal) {
	for range children {
		s.reapAll()
	}
}

func (s *server) reapAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err == syscall.ECHILD:
			if c := s.state.Current; c != nil && !c.Inherited {
				s.emptied()
			}
			return
		case err != nil || pid == 0:
			if s.state.Killing {
				s.killDescendants()
			}
			return
		default:
			s.reaped(pid, status)
		}
	}
}

func (s *server) reaped(pid int, status syscall.WaitStatus) {
	c := s.state.Current
	if !c.Alive() || c.Inherited || c.Process.PID != pid {
		return
	}
	x := Exit{Known: true, Code: status.ExitStatus(), Time: time.Now()}
	if status.Signaled() {
		x.Signal = int(status.Signal())
	}
	s.exited(x)
}

// exited records the end of the main process.
func (s *server) exited(x Exit) {
	// What it said before it ended came in before its end did.
	s.drainNotifications(math.MaxInt)
	c := s.state.Current
	c.Exit = &x
	s.emit(Event{Kind: EventExited, PID: c.Process.PID, Exit: &x, Time: x.Time})
	s.scheduleRespawn()
}

// emptied records that nothing of the program is left.
func (s *server) emptied() {
	if s.state.Empty {
		return
	}
	s.state.Empty, s.state.Killing = true, false
	s.emit(Event{Kind: EventEmpty})
}

// inheritProcess takes over a process that another shim started. It is not a
// child, so its exit status stays unknown.
func (s *server) inheritProcess(r inheritRequest) error {
	if r.Program == nil {
		return fmt.Errorf("inherit process %d: its program is missing", r.Process.PID)
	}
	pidfd, err := r.Process.open()
	if err != nil {
		return fmt.Errorf("inherit: %w", err)
	}
	watch, err := unix.FcntlInt(uintptr(pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unix.Close(pidfd)
		return os.NewSyscallError("fcntl", err)
	}
	s.pidfd = pidfd
	s.state.Empty, s.state.Spec = false, r.Program.Spec
	s.state.Current = &Instance{
		Number: r.Program.Instance, Generation: r.Program.Generation,
		Process: *r.Process, Started: time.Now(), Inherited: true,
	}
	go s.watchInherited(watch, cgroup.Dir(r.Program.Cgroup))
	return nil
}

func (s *server) watchInherited(pidfd int, group cgroup.Dir) {
	awaitExit(pidfd)
	s.mu.Lock()
	unix.Close(s.pidfd)
	s.pidfd = -1
	inherited := s.state.Current
	s.exited(Exit{Code: -1, Time: time.Now()})
	s.mu.Unlock()
	if group != "" {
		_ = group.Await(context.Background())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Current == inherited {
		s.emptied()
	}
}
