package shim

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
)

// maxPast is how many earlier instances a state keeps.
const maxPast = 8

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
	s.state.Spec = p.Spec
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

// execute has an exec stage become the program, with its descriptors in order.
func (s *server) execute(p *Program) (int, *ExecError) {
	for _, name := range p.Sockets {
		// A program before this one may have changed the shared flag; one that
		// expects it would hang in accept, one that does not would fail there.
		if err := unix.SetNonblock(int(s.held(name).file.Fd()), !p.Blocking); err != nil {
			return 0, execError("prepare socket", name, err)
		}
	}
	hs, err := shake(p.Handshake)
	if err != nil {
		return 0, execError("handshake", "", err)
	}
	defer closeAll(hs.theirs)
	pid, failed := s.become(p, append(hs.theirs, s.files(p.Sockets)...))
	switch {
	case failed != nil:
		hs.closeOurs()
	case hs.ours != nil:
		go s.awaitHandshake(hs.ours, p.Handshake.Ready, p.Instance)
	}
	return pid, failed
}

// become uses the stage that waits. One that ended meanwhile is no reason to fail.
func (s *server) become(p *Program, files []*os.File) (int, *ExecError) {
	if st := s.takeStage(p); st != nil {
		if failed := st.become(p, files); failed == nil || failed.Stage != stageLost {
			return st.pid, failed
		}
	}
	st, failed := forkStage(p.Cgroup, p.descriptors())
	if failed != nil {
		return 0, failed
	}
	return st.pid, st.become(p, files)
}

// openLog opens a log for appending: no pipe, whose reader could die and take
// the writer with it by SIGPIPE, and no link to somewhere else. A fifo in its place
// is not waited for.
func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o640)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err == nil { // the program may look at the flag
		err = listen.Control(f, func(fd int) error { return unix.SetNonblock(fd, false) })
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func execError(stage, path string, err error) *ExecError {
	e := &ExecError{Stage: stage, Path: path, Errno: syscall.EIO}
	if !errors.As(err, &e.Errno) {
		e.Detail = err.Error()
	}
	return e
}
