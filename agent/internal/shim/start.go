package shim

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxPast is how many earlier instances a state keeps.
	maxPast = 8
	// execLimit bounds the exec stage: a working directory on a dead network
	// file system must not hold up the shim.
	execLimit = 10 * time.Second
)

// startByAgent answers a Start. Asked again for the current instance, it says
// what came of it.
func (s *server) startByAgent(p Program) (any, []*os.File, error) {
	if c := s.state.Current; c != nil {
		switch {
		case p.Instance == c.Number && c.Exec != nil:
			return nil, nil, c.Exec
		case p.Instance == c.Number:
			return encoded(c)
		case p.Instance < c.Number:
			return nil, nil, fmt.Errorf("start instance %d: instance %d was started since: %w", p.Instance, c.Number, ErrStale)
		case c.Alive():
			return nil, nil, fmt.Errorf("start instance %d: instance %d: %w", p.Instance, c.Number, ErrAlive)
		}
	}
	if p.Instance < 1 || len(p.Argv) == 0 {
		return nil, nil, errors.New("start: an instance number from 1 and an argv are required")
	}
	if s.state.Killing {
		return nil, nil, fmt.Errorf("start instance %d: the one before is being killed: %w", p.Instance, ErrAlive)
	}
	for _, name := range p.Sockets {
		if s.held(name) == nil {
			return nil, nil, fmt.Errorf("start: %q: %w", name, ErrUnknownSocket)
		}
	}
	if p.Ack {
		if err := s.listenForAck(); err != nil {
			return nil, nil, err
		}
	}
	s.program = &p
	if failed := s.begin(false); failed != nil {
		return nil, nil, failed
	}
	return encoded(s.state.Current)
}

// begin runs s.program as the new current instance.
func (s *server) begin(byShim bool) *ExecError {
	p := s.program
	if c := s.state.Current; c != nil {
		s.state.Past = append(s.state.Past, *c)
		s.state.Past = s.state.Past[max(0, len(s.state.Past)-maxPast):]
	}
	s.state.Generation = p.Generation
	if p.Spec != nil {
		s.state.Spec = p.Spec
	}
	s.state.Current = &Instance{Number: p.Instance, Generation: p.Generation, Started: time.Now(), ByShim: byShim}
	c := s.state.Current
	pid, failed := s.execute(p)
	if failed != nil {
		c.Exec = failed
		s.emit(Event{Kind: EventExecFailed, Exec: failed})
		return failed
	}
	s.state.Empty = false
	c.Process = Process{PID: pid, BootID: s.state.BootID}
	if st, err := readStat(pid); err == nil {
		c.Process.StartTime = st.start
	}
	s.emit(Event{Kind: EventStarted, PID: pid})
	return nil
}

// execute forks the exec stage and waits for its verdict: the end of the
// descriptor that execve closes, or an error.
func (s *server) execute(p *Program) (int, *ExecError) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, execError("open", os.DevNull, err)
	}
	defer null.Close()
	log := null
	if p.Log != "" {
		if log, err = openLog(p.Log); err != nil {
			return 0, execError("open log", p.Log, err)
		}
		defer log.Close()
		// A program may reopen /dev/stdout, for which it must own the file.
		if p.User != nil {
			if err := log.Chown(int(p.User.UID), int(p.User.GID)); err != nil {
				return 0, execError("chown log", p.Log, err)
			}
		}
	}
	ours, theirs, err := stagePipe()
	if err != nil {
		return 0, execError("socketpair", "", err)
	}
	defer ours.Close()

	files := []uintptr{null.Fd(), log.Fd(), log.Fd()}
	hs, err := shake(p.Handshake)
	if err != nil {
		unix.Close(theirs)
		return 0, execError("handshake", "", err)
	}
	defer hs.closeTheirs()
	files = append(files, hs.theirs...)
	for _, name := range p.Sockets {
		h := s.held(name)
		// A program before this one may have cleared the shared flag, and one that
		// expects it would then hang in accept.
		if err := unix.SetNonblock(int(h.file.Fd()), true); err != nil {
			unix.Close(theirs)
			return 0, execError("prepare socket", name, err)
		}
		files = append(files, h.file.Fd())
	}
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOGC=off", "GOMAXPROCS=1"},
		Files: append(files, uintptr(theirs)),
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	pid, err := forkInto(p.Cgroup, func(cgroup int) (int, error) {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = cgroup >= 0, max(cgroup, 0)
		// The running binary itself: also when a package upgrade has replaced it.
		return syscall.ForkExec("/proc/self/exe", []string{"graced-shim", "exec", strconv.Itoa(firstSocket + p.descriptors())}, attr)
	})
	unix.Close(theirs)
	if err != nil {
		hs.closeOurs()
		return 0, execError("fork", "", err)
	}
	if failed := negotiate(ours, pid, p); failed != nil {
		hs.closeOurs()
		explain(failed)
		return 0, failed
	}
	if hs.ours != nil {
		go s.awaitHandshake(hs.ours, p.Handshake.Ready, p.Instance)
	}
	return pid, nil
}

// negotiate sends the stage its orders and hears how the execve went.
func negotiate(ours *os.File, pid int, p *Program) *ExecError {
	ours.SetDeadline(time.Now().Add(execLimit))
	err := sendOrders(ours, stageOrders{Program: *p, Descriptors: p.descriptors()})
	var verdict []byte
	if err == nil {
		verdict, err = io.ReadAll(ours)
	}
	if err == nil && len(verdict) == 0 {
		return nil
	}
	// The stage is over; SIGCHLD finds nothing to reap.
	_ = syscall.Kill(pid, syscall.SIGKILL)
	for {
		if _, werr := syscall.Wait4(pid, nil, 0, nil); werr != syscall.EINTR {
			break
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &ExecError{Stage: "exec stage", Path: p.Path, Errno: syscall.ETIMEDOUT, Detail: "a directory or file did not answer"}
	}
	if err != nil {
		return execError("exec stage", p.Path, err)
	}
	return parseVerdict(verdict)
}

// stagePipe is a socket pair: our end polled, theirs blocking, both closed on
// exec until the fork passes theirs on.
func stagePipe() (ours *os.File, theirs int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, err
	}
	if err := unix.SetNonblock(pair[0], true); err != nil {
		unix.Close(pair[0])
		unix.Close(pair[1])
		return nil, -1, err
	}
	return os.NewFile(uintptr(pair[0]), "exec stage"), pair[1], nil
}

// openLog opens a log for appending: no pipe, whose reader could die and take
// the writer with it by SIGPIPE, and no link to somewhere else.
func openLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o640)
}

func execError(stage, path string, err error) *ExecError {
	e := &ExecError{Stage: stage, Path: path, Errno: syscall.EIO}
	if !errors.As(err, &e.Errno) {
		e.Detail = err.Error()
	}
	return e
}
