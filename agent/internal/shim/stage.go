package shim

import (
	"os"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// stage is an exec stage that waits for its orders. It has the program's
// descriptors already, and ends when the pipe does.
type stage struct {
	pid     int
	pipe    *os.File
	cgroup  string
	sockets []string
}

// stageAhead forks the stage of the first program before anybody asks for it.
func (s *server) stageAhead(cgroup string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stage != nil || s.state.Current != nil || s.dismissed {
		return
	}
	var names []string
	for _, h := range s.sockets {
		names = append(names, h.socket.Name)
	}
	st, failed := s.forkStage(cgroup, names, nil)
	if failed == nil {
		s.stage = st
	}
}

// takeStage is the stage that was forked ahead, if it fits the program. The caller
// holds mu.
func (s *server) takeStage(p *Program) *stage {
	st := s.stage
	if st == nil {
		return nil
	}
	if st.cgroup != p.Cgroup || p.Handshake != nil || !slices.Equal(st.sockets, p.Sockets) {
		s.discardStage()
		return nil
	}
	s.stage = nil
	return st
}

// discardStage ends a stage that nobody will use.
func (s *server) discardStage() {
	if s.stage == nil {
		return
	}
	s.stage.pipe.Close()
	endStage(s.stage.pid)
	s.stage = nil
}

// endStage kills a stage and collects it, unless SIGCHLD's handler was first.
func endStage(pid int) {
	_ = syscall.Kill(pid, syscall.SIGKILL)
	for {
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != syscall.EINTR {
			return
		}
	}
}

// forkStage forks an exec stage with these descriptors after its standard ones,
// which lead nowhere: the stage itself opens the log.
func (s *server) forkStage(cgroup string, sockets []string, first []uintptr) (*stage, *ExecError) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, execError("open", os.DevNull, err)
	}
	defer null.Close()
	ours, theirs, err := stagePipe()
	if err != nil {
		return nil, execError("socketpair", "", err)
	}
	files := append([]uintptr{null.Fd(), null.Fd(), null.Fd()}, first...)
	for _, name := range sockets {
		files = append(files, s.held(name).file.Fd())
	}
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOGC=off", "GOMAXPROCS=1"},
		Files: append(files, uintptr(theirs)),
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	pid, err := forkInto(cgroup, func(fd int) (int, error) {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = fd >= 0, max(fd, 0)
		// The running binary itself: also when a package upgrade has replaced it.
		return syscall.ForkExec("/proc/self/exe", []string{"graced-shim", "exec", strconv.Itoa(len(files))}, attr)
	})
	unix.Close(theirs)
	if err != nil {
		ours.Close()
		return nil, execError("fork", "", err)
	}
	return &stage{pid, ours, cgroup, sockets}, nil
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
