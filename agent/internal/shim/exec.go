package shim

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
)

// firstSocket is the first descriptor after stdin, stdout and stderr; the
// stage's connection to the shim follows the last of the program's.
const firstSocket = 3

// Exec is the exec stage: a process that becomes the program. It exists because
// only the final process can put its own pid into LISTEN_PID, and because
// identity and limits must change after the fork. The shim is at the other end of
// fd, gives the orders, and is told of every failure from there on; otherwise Exec
// does not return.
func Exec(fd int) error {
	runtime.LockOSThread() // no_new_privs and the signal mask belong to a thread
	if _, err := unix.Getpeername(fd); err != nil {
		return errors.New("the exec stage is started by a shim")
	}
	orders, err := newConn(fd)
	if err != nil {
		return err
	}
	m, files, err := orders.receive()
	if err != nil {
		return err
	}
	p, err := decode[Program](m)
	if err != nil {
		return err
	}
	return orders.send(context.Background(), message{Error: remote(become(&p, files))}, nil)
}

// become changes this process step by step into the program. The log comes first,
// which may take the shim's rights to open; limits come before the identity, which
// could not raise them; no_new_privs after it; the directory last, with the rights
// of the program's user.
func become(p *Program, files []*os.File) *ExecError {
	if e := place(files); e != nil {
		return e
	}
	if e := log(p); e != nil {
		return e
	}
	if e := limit(p.Nofile); e != nil {
		return e
	}
	unprotect("/proc/self/oom_score_adj")
	if e := identify(p.User); e != nil {
		return e
	}
	if p.NoNewPrivs {
		if e := confine(); e != nil {
			return e
		}
	}
	dir := p.Dir
	if dir == "" {
		dir = "/"
	}
	if err := unix.Chdir(dir); err != nil {
		return execError("change to the working directory", dir, err)
	}
	unix.Umask(p.Umask)
	if err := closeFrom(firstSocket + len(files)); err != nil {
		return execError("close descriptors", "", err)
	}
	resetSignals()
	return replace(p.Path, p.Argv, environment(p))
}

// place gives the program's descriptors the numbers that were kept for them.
func place(files []*os.File) *ExecError {
	for i, f := range files {
		err := listen.Control(f, func(fd int) error { return unix.Dup3(fd, firstSocket+i, 0) })
		if err != nil {
			return execError("place descriptor", strconv.Itoa(firstSocket+i), err)
		}
	}
	return nil
}

// log makes the log the standard output and error.
func log(p *Program) *ExecError {
	if p.Log == "" {
		return nil
	}
	f, err := openLog(p.Log)
	if err != nil {
		return execError("open log", p.Log, err)
	}
	// A program may reopen /dev/stdout, for which it must own the file.
	if p.User != nil {
		if err := f.Chown(int(p.User.UID), int(p.User.GID)); err != nil {
			return execError("chown log", p.Log, err)
		}
	}
	for _, fd := range []int{1, 2} {
		if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
			return execError("use log", p.Log, err)
		}
	}
	return nil
}

func limit(nofile int) *ExecError {
	if nofile <= 0 {
		return nil
	}
	var l syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
	if err == nil {
		l.Cur, l.Max = uint64(nofile), max(l.Max, uint64(nofile))
		// The syscall package must know, or it restores the old limit at exec.
		err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}
	if err != nil {
		return execError("set the descriptor limit", strconv.Itoa(nofile), err)
	}
	return nil
}

// unprotect takes back what keeps the kernel from killing the agent when memory
// is short. With CAP_SYS_RESOURCE this also is the lowest that the program can return
// to (proc(5)). That it cannot be done is no reason not to start.
func unprotect(path string) {
	b, err := os.ReadFile(path)
	if err == nil && bytes.HasPrefix(b, []byte("-")) {
		_ = os.WriteFile(path, []byte("0"), 0)
	}
}

// confine ends every way to more privileges than the program's user has: set-user-ID
// programs and file capabilities, and what the agent itself was given by ambient
// ones, for which its sockets are open already.
func confine() *ExecError {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return execError("clear ambient capabilities", "", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return execError("set no_new_privs", "", err)
	}
	return nil
}

func identify(u *User) *ExecError {
	if u == nil || (os.Geteuid() != 0 && os.Geteuid() == int(u.UID)) {
		return nil
	}
	groups := make([]int, len(u.Groups))
	for i, g := range u.Groups {
		groups[i] = int(g)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return execError("set groups", "", err)
	}
	if err := syscall.Setresgid(int(u.GID), int(u.GID), int(u.GID)); err != nil {
		return execError("set group", strconv.Itoa(int(u.GID)), err)
	}
	if err := syscall.Setresuid(int(u.UID), int(u.UID), int(u.UID)); err != nil {
		return execError("set user", strconv.Itoa(int(u.UID)), err)
	}
	// A session keyring of its own: the agent's is one for all that it starts. There
	// may be none to share, by the kernel or by a filter.
	_, _ = unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	return nil
}

// closeFrom marks descriptors closed on exec; the stage's own must live until
// then, since its end is the news of success.
func closeFrom(first int) error {
	err := unix.CloseRange(uint(first), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd") // before Linux 5.11
	if err != nil {
		return err
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// environment is the program's, with the variables that name its own pid and its
// parent's; a value given for one of those would be found first, so it is left
// out.
func environment(p *Program) []string {
	env := slices.DeleteFunc(slices.Clone(p.Env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(p.PIDEnv, name) || slices.Contains(p.ParentPIDEnv, name)
	})
	for _, name := range p.PIDEnv {
		env = append(env, name+"="+strconv.Itoa(os.Getpid()))
	}
	for _, name := range p.ParentPIDEnv {
		env = append(env, name+"="+strconv.Itoa(os.Getppid()))
	}
	return env
}

// resetSignals gives the program what init would: nothing blocked, nothing
// ignored. Handlers fall away by execve, SIG_IGN would not.
func resetSignals() {
	for sig := 1; sig <= 64; sig++ {
		defaultAction(sig)
	}
	var none unix.Sigset_t
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil)
}

// replace replaces the process. A file that was just written may still be open
// for writing in a child that another thread is forking: ETXTBSY passes.
func replace(path string, argv, env []string) *ExecError {
	err := syscall.Exec(path, argv, env)
	for pause := time.Millisecond; err == syscall.ETXTBSY && pause <= 32*time.Millisecond; pause *= 2 {
		time.Sleep(pause)
		err = syscall.Exec(path, argv, env)
	}
	if errors.Is(err, syscall.EINVAL) && strings.ContainsRune(path+strings.Join(argv, "")+strings.Join(env, ""), 0) {
		return &ExecError{Stage: "execve", Path: path, Errno: syscall.EINVAL, Detail: "an argument or variable holds a NUL"}
	}
	return execError("execve", path, err)
}
