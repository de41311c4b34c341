package shim

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// opExec orders a stage to become the program: Program + its descriptors.
	opExec = "exec"
	// execLimit bounds the exec stage: a working directory on a dead network
	// file system must not hold up the shim.
	execLimit = 10 * time.Second
	// stageLost is where a stage failed that ended before its orders.
	stageLost = "exec stage lost"
)

// stage is an exec stage that waits for its orders, with room for so many
// descriptors. It ends when its connection does.
type stage struct {
	pid         int
	orders      *conn
	cgroup      string
	descriptors int
}

// stageAhead forks the stage of the first program before anybody asks for it.
func (s *server) stageAhead(in StageIntent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Current != nil || s.dismissed {
		return
	}
	if st, failed := forkStage(in.Cgroup, in.Descriptors); failed == nil {
		s.stage = st
	}
}

// takeStage is the stage that was forked ahead, if it fits the program. The caller
// holds mu.
func (s *server) takeStage(p *Program) *stage {
	st := s.stage
	if st == nil || st.cgroup != p.Cgroup || st.descriptors != p.descriptors() {
		s.discardStage()
		return nil
	}
	s.stage = nil
	return st
}

// discardStage ends a stage that nobody will use.
func (s *server) discardStage() {
	if s.stage != nil {
		s.stage.end()
		s.stage = nil
	}
}

// end kills a stage and collects it, unless SIGCHLD's handler was first.
func (st *stage) end() {
	st.orders.close()
	_ = syscall.Kill(st.pid, syscall.SIGKILL)
	for {
		if _, err := syscall.Wait4(st.pid, nil, 0, nil); err != syscall.EINTR {
			return
		}
	}
}

// become has the stage become the program and waits for its verdict: the end of
// the connection, which execve closes, or an error.
func (st *stage) become(p *Program, files []*os.File) *ExecError {
	failed := st.order(p, files)
	if failed != nil {
		st.end()
		return failed
	}
	st.orders.close()
	return nil
}

func (st *stage) order(p *Program, files []*os.File) *ExecError {
	body, err := json.Marshal(p)
	if err != nil {
		return execError("exec stage", p.Path, err)
	}
	st.orders.file.SetDeadline(time.Now().Add(execLimit))
	if err := st.orders.send(context.Background(), message{Op: opExec, Body: body}, files); err != nil {
		return execError(stageLost, p.Path, err)
	}
	verdict, _, err := st.orders.receive()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &ExecError{Stage: "exec stage", Path: p.Path, Errno: syscall.ETIMEDOUT, Detail: "a directory or file did not answer"}
	case err != nil:
		return execError("exec stage", p.Path, err)
	case verdict.Error == nil || verdict.Error.Exec == nil:
		return execError("exec stage", p.Path, errors.New("it answered what it was not asked"))
	}
	explain(verdict.Error.Exec)
	return verdict.Error.Exec
}

// forkStage forks an exec stage. Its standard descriptors lead nowhere: it opens
// the log itself. The program's are given with the orders; until then /dev/null
// keeps their numbers from everything that Go's runtime opens.
func forkStage(cgroup string, descriptors int) (*stage, *ExecError) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, execError("open", os.DevNull, err)
	}
	defer null.Close()
	ours, theirs, err := stagePair()
	if err != nil {
		return nil, execError("socketpair", "", err)
	}
	files := make([]uintptr, firstSocket+descriptors)
	for i := range files {
		files[i] = null.Fd()
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
		ours.close()
		return nil, execError("fork", "", err)
	}
	return &stage{pid, ours, cgroup, descriptors}, nil
}

// stagePair is a connection: our end polled, theirs blocking, both closed on exec
// until the fork passes theirs on.
func stagePair() (ours *conn, theirs int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, err
	}
	err = unix.SetNonblock(pair[0], true)
	if err == nil {
		ours, err = newConn(pair[0]) // owns it, also on error
	} else {
		unix.Close(pair[0])
	}
	if err != nil {
		unix.Close(pair[1])
		return nil, -1, err
	}
	return ours, pair[1], nil
}
