package probe

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

const (
	// maxOutput is how much of a command's last output an error carries.
	maxOutput = 512
	// outputWait bounds the wait for output after the command ended: a process
	// it left behind in another group may hold the pipe for ever.
	outputWait = 100 * time.Millisecond
)

// runExec runs the command in a process group of its own and kills the whole
// group at its end, whether that came by itself or with ctx.
func runExec(ctx context.Context, p service.ExecProbe, t Target) error {
	if len(p.Command) == 0 {
		return errors.New("exec probe without a command")
	}
	what := "command " + p.Command[0]
	out := &tail{}
	cmd := exec.Command(p.Command[0], p.Command[1:]...)
	cmd.Env, cmd.Dir = t.Env, t.Dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = outputWait
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: t.Credential}
	if err := cmd.Start(); err != nil {
		return cause(ctx, what, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		waitZombie(cmd.Process.Pid)
	}()
	select {
	case <-ctx.Done():
	case <-ended:
	}
	timedOut := ctx.Err() != nil
	// Not reaped yet, so the number still is this group's.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-ended
	err := cmd.Wait()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	if timedOut {
		return cause(ctx, what, fmt.Errorf("killed%s", out))
	}
	return &failure{what: what, err: fmt.Errorf("%w%s", err, out)}
}

// waitZombie returns when the child has ended, and leaves it to be reaped.
func waitZombie(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// tail keeps the last bytes written to it. A process that outlives the command
// may still write while it is read.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > maxOutput {
		t.b = append(t.b[:0], t.b[len(t.b)-maxOutput:]...)
	}
	return len(p), nil
}

// String is ": OUTPUT", or nothing when there was none.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := strings.TrimSpace(strings.ToValidUTF8(string(t.b), "?"))
	if s == "" {
		return ""
	}
	return ": " + s
}
