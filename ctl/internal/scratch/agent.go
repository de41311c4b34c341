package scratch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Agent is an agent in a directory of its own.
type Agent struct {
	// Socket is where it answers.
	Socket string
	// Log is the path of what it says.
	Log     string
	command *exec.Cmd
	ended   chan error
}

const agentStart = 15 * time.Second

// RuntimeDir is that of an agent in a directory.
func RuntimeDir(dir string) string { return filepath.Join(dir, "r") }

// Start returns once the agent says that it is ready. The caller must End it, also
// when there is an error beside it.
func Start(ctx context.Context, p Programs, dir string) (*Agent, error) {
	a := &Agent{Socket: filepath.Join(RuntimeDir(dir), "graced.sock"), ended: make(chan error, 1)}
	notify := filepath.Join(dir, "notify")
	news, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	defer news.Close()
	log, err := os.Create(filepath.Join(dir, "agent.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	a.Log = log.Name()
	// What graced.yaml says of this host, such as its address, is not about this agent.
	a.command = exec.Command(p.Graced, "--config", os.DevNull, "--state-dir", filepath.Join(dir, "s"), "--runtime-dir", RuntimeDir(dir))
	a.command.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	a.command.Stdout, a.command.Stderr = log, log
	// Ctrl-C is for the command, which then ends the agent in order.
	a.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := a.command.Start(); err != nil {
		return nil, fmt.Errorf("start the agent: %w", err)
	}
	go func() { a.ended <- a.command.Wait() }()
	if err := awaitReady(ctx, news, a.ended); err != nil {
		return a, fmt.Errorf("the agent did not start: %w\n%s", err, tail(log.Name()))
	}
	return a, nil
}

func awaitReady(ctx context.Context, news *net.UnixConn, ended chan error) error {
	ready := make(chan error, 1)
	if err := news.SetReadDeadline(time.Now().Add(agentStart)); err != nil {
		return err
	}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := news.Read(b)
			if err != nil || strings.Contains(string(b[:n]), "READY=1") {
				ready <- err
				return
			}
		}
	}()
	select {
	case err := <-ready:
		return err
	case err := <-ended:
		ended <- err
		return errors.Join(errors.New("it ended"), err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// End tells the agent to end and waits. Its services live on.
func (a *Agent) End(ctx context.Context) error {
	_ = a.command.Process.Signal(syscall.SIGTERM) // it may be gone
	select {
	case err := <-a.ended:
		var status *exec.ExitError
		if errors.As(err, &status) {
			return fmt.Errorf("the agent ended badly: %w", err)
		}
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("the agent did not end and is killed"), a.command.Process.Kill())
	}
}

// tail is the end of a log.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-2000):]))
}
