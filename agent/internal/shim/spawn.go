package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// controlFD is where a new shim finds its listening control socket.
const controlFD = 3

// Spawn starts a shim for the intent and connects to it. Its control socket is
// bound and listening before the process exists, so there is nothing to wait for
// but its hello. ErrRunning means that the directory has a live shim: Dial it.
//
// A goroutine reaps the shim when it ends, which may be after the Client's.
func Spawn(ctx context.Context, binary string, in Intent) (*Client, error) {
	in.Version = Version
	if in.Idle == 0 {
		in.Idle = DefaultIdle
	}
	c, err := spawn(ctx, binary, in)
	if err != nil {
		return nil, fmt.Errorf("start the shim of %s generation %d: %w", in.Service, in.Generation, err)
	}
	return c, nil
}

func spawn(ctx context.Context, binary string, in Intent) (*Client, error) {
	if err := CheckDir(in.Directory); err != nil {
		return nil, err
	}
	if err := in.write(); err != nil {
		return nil, err
	}
	control, err := bindControl(in.Directory)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	if err := launch(binary, in, control); err != nil {
		os.Remove(ControlPath(in.Directory))
		return nil, err
	}
	// From here on the shim holds the only listening end: if it dies before its
	// hello, the connection ends.
	control.Close()
	c, err := Dial(ctx, in.Directory)
	if errors.Is(err, ErrGone) {
		return nil, fmt.Errorf("%w: %s", err, lastWords(in.Directory))
	}
	return c, err
}

// lastWords is the end of a shim's own log.
func lastWords(dir string) string {
	b, err := os.ReadFile(logPath(dir))
	if err != nil || len(b) == 0 {
		return "it left no message"
	}
	return strings.TrimSpace(string(b[max(0, len(b)-500):]))
}

// bindControl binds the control path, replacing what a dead shim left there.
func bindControl(dir string) (*os.File, error) {
	path := ControlPath(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), path)
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	if err == unix.EADDRINUSE {
		if probe, derr := connect(path); derr == nil {
			probe.close()
			f.Close()
			return nil, fmt.Errorf("%s: %w", dir, ErrRunning)
		}
		os.Remove(path)
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = unix.Chmod(path, 0o600)
	}
	if err == nil {
		err = unix.Listen(fd, 16)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("bind the control socket %s: %w", path, err)
	}
	return f, nil
}

// launch starts the process: own session, born in the slot's cgroup, no pipe to
// the agent.
func launch(binary string, in Intent, control *os.File) error {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	log, err := openLog(logPath(in.Directory))
	if err != nil {
		return err
	}
	defer log.Close()

	pidfd := -1
	attr := &syscall.ProcAttr{
		Dir: "/",
		// Small footprint: a shim does little and waits long.
		Env:   []string{"GOGC=20", "GOMAXPROCS=1"},
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd(), control.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	}
	pid, err := forkInto(in.SlotCgroup, func(cgroup int) (int, error) {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = cgroup >= 0, max(cgroup, 0)
		return syscall.ForkExec(binary, []string{"graced-shim", "run", in.Directory}, attr)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", binary, err)
	}
	go reap(pid, pidfd)
	return nil
}

// forkInto forks into a cgroup, by clone3 where the kernel and its filters allow
// it, else by moving the child at once. Without a cgroup it just forks.
func forkInto(cgroup string, fork func(fd int) (int, error)) (int, error) {
	if cgroup == "" {
		return fork(-1)
	}
	fd, err := unix.Open(cgroup, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open cgroup %s: %w", cgroup, err)
	}
	defer unix.Close(fd)
	pid, err := fork(fd)
	if err == nil || !cloneRefused(err) {
		return pid, err
	}
	if pid, err = fork(-1); err != nil {
		return 0, err
	}
	if err := os.WriteFile(cgroup+"/cgroup.procs", fmt.Append(nil, pid), 0); err != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		_, _ = syscall.Wait4(pid, nil, 0, nil)
		return 0, fmt.Errorf("move the process into its cgroup: %w", err)
	}
	return pid, nil
}

// cloneRefused tells a clone3 that the kernel (before 5.7) or a seccomp filter
// does not know from a failure of the program.
func cloneRefused(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) ||
		errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP)
}

// reap collects a child's exit status, without holding a thread where the kernel
// has pidfds.
func reap(pid, pidfd int) {
	if pidfd >= 0 {
		awaitExit(pidfd)
	}
	for {
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != syscall.EINTR {
			return
		}
	}
}
