//go:build linux

package harness

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
)

const (
	startLimit = 20 * time.Second
	endLimit   = 20 * time.Second
)

// Agent is an agent of a test, over all its restarts. It is safe for concurrent
// use, but for what starts or ends its process.
type Agent struct {
	// Dir holds all of its directories; services may write there, too.
	Dir string
	// RuntimeDir is the agent's own one of that name.
	RuntimeDir string
	// Socket is the path of its API.
	Socket string

	t      testing.TB
	binary string
	flags  []string
	place  place
	log    log
	cmd    *exec.Cmd
	ended  chan error // has what Wait returned
	conn   *grpc.ClientConn
	specs  int
}

// place has an agent start elsewhere than the test, as another user or in other
// namespaces; nil leaves it there. notify is the socket that it reports to.
type place func(t testing.TB, a *Agent, notify string)

// Start runs an agent in fresh directories, with additional flags of graced. It
// has no services. When the test ends, so do its services and the agent, and the
// test fails if anything is left of them.
func Start(t testing.TB, flags ...string) *Agent {
	t.Helper()
	return start(t, Binary(t, "graced"), nil, flags)
}

// StartSlow is Start for an agent on a host so busy that each shim takes a while to
// come up.
func StartSlow(t testing.TB, shimDelay time.Duration) *Agent {
	t.Helper()
	dir := t.TempDir()
	// The agent looks for its shim beside itself.
	graced, err := os.ReadFile(Binary(t, "graced"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "graced"), graced, 0o755)
	}
	script := fmt.Sprintf("#!/bin/bash\nsleep %f\nexec -a graced-shim %s \"$@\"\n", shimDelay.Seconds(), Binary(t, "graced-shim"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "graced-shim"), []byte(script), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return start(t, filepath.Join(dir, "graced"), nil, nil)
}

// StartInMemory is Start for an agent whose runtime directory is a tmpfs, as /run is:
// only there it keeps secrets.
func StartInMemory(t testing.TB, flags ...string) *Agent {
	t.Helper()
	return inMemory(t, nil, flags)
}

func inMemory(t testing.TB, p place, flags []string) *Agent {
	t.Helper()
	return startIn(t, Binary(t, "graced"), p, folder(t, "/dev/shm"), flags)
}

func start(t testing.TB, binary string, p place, flags []string) *Agent {
	t.Helper()
	return startIn(t, binary, p, "", flags)
}

func startIn(t testing.TB, binary string, p place, runtime string, flags []string) *Agent {
	t.Helper()
	a := prepare(t, binary, p, runtime, flags)
	t.Cleanup(a.cleanup)
	a.start(t)
	return a
}

// prepare is an agent that has not started.
func prepare(t testing.TB, binary string, p place, runtime string, flags []string) *Agent {
	t.Helper()
	// In /tmp, since the path of a unix socket has at most 107 bytes.
	dir := folder(t, "/tmp")
	if runtime == "" {
		runtime = filepath.Join(dir, "r")
	}
	return &Agent{Dir: dir, RuntimeDir: runtime, Socket: filepath.Join(runtime, "graced.sock"), binary: binary, t: t, flags: flags, place: p}
}

func folder(t testing.TB, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "gf")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// start runs graced and returns when it says that it is ready.
func (a *Agent) start(t testing.TB) {
	t.Helper()
	if err := a.begin(t); err != nil {
		t.Fatal(err)
	}
}

// begin is start for goroutines beside the test's own.
func (a *Agent) begin(t testing.TB) error {
	t.Helper()
	path := filepath.Join(a.Dir, "notify")
	os.Remove(path) // of the agent before
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		return err
	}
	a.cmd = exec.Command(a.binary, append([]string{
		"--state-dir", filepath.Join(a.Dir, "s"), "--runtime-dir", a.RuntimeDir, "--log-level", "debug",
	}, a.flags...)...)
	a.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path)
	a.cmd.Stdout, a.cmd.Stderr = &a.log, &a.log
	// Shims keep no descriptor of the agent's; what did would hold up Wait.
	a.cmd.WaitDelay = time.Second
	if a.place != nil {
		a.place(t, a, path)
	}
	if err := a.cmd.Start(); err != nil {
		return err
	}
	ended, cmd := make(chan error, 1), a.cmd
	a.ended = ended
	go func() {
		ended <- cmd.Wait()
		close(ended)
		notify.Close() // nobody will be ready
	}()
	if err := notify.SetReadDeadline(time.Now().Add(startLimit)); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	if _, err := notify.Read(buf); err != nil {
		return fmt.Errorf("the agent is not ready: %w\n%s", err, a.log.String())
	}
	return nil
}

// PID is the agent's process id.
func (a *Agent) PID() int { return a.cmd.Process.Pid }

// Memory is how much the agent's process takes now, in bytes.
func (a *Agent) Memory() int { return resident(a.t, a.PID()) }

// CPU is how much processor time the agent's process has taken so far.
func (a *Agent) CPU() time.Duration { return spent(a.t, a.PID()) }

// Log is all that the agent has said.
func (a *Agent) Log() string { return a.log.String() }

// Kill9 kills the agent at once. Its services live on.
func (a *Agent) Kill9(t testing.TB) {
	t.Helper()
	if err := a.cmd.Process.Kill(); err != nil {
		t.Fatalf("kill the agent: %v", err)
	}
	<-a.ended
}

// Terminate asks the agent to end and waits until it has; anything but a clean
// end fails the test.
func (a *Agent) Terminate(t testing.TB) {
	t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("terminate the agent: %v", err)
		return
	}
	limit := time.NewTimer(endLimit)
	defer limit.Stop()
	select {
	case err := <-a.ended:
		if err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	case <-limit.C:
		t.Errorf("the agent ignores SIGTERM for %v", endLimit)
		_ = a.cmd.Process.Signal(syscall.SIGABRT) // its goroutines go to the log
		<-a.ended
	}
}

// Restart runs an agent again in the same directories, after ending the one
// that may still run.
func (a *Agent) Restart(t testing.TB) {
	t.Helper()
	if a.running() {
		a.Terminate(t)
	}
	a.start(t)
}

func (a *Agent) running() bool { return a.cmd != nil && a.cmd.ProcessState == nil }

// cleanup ends everything and looks for what is left.
func (a *Agent) cleanup() {
	t := a.t
	t.Helper()
	// An agent that the test killed is needed once more, to end the services.
	if a.cmd != nil && !a.running() {
		if err := a.begin(t); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	}
	if a.running() {
		a.deleteAll(t)
		a.Terminate(t)
	}
	if a.conn != nil {
		a.conn.Close()
	}
	for _, left := range a.leftovers(portsOf(t)) {
		t.Errorf("left behind: %s", left)
	}
	a.sweep()
	if said := forbidden.FindString(a.log.String()); said != "" {
		t.Errorf("the agent said %q", said)
	}
	if t.Failed() {
		t.Logf("the agent's log:\n%s", a.log.String())
	}
	for _, dir := range []string{a.Dir, a.RuntimeDir} {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the agent's directories: %v", err)
		}
	}
}

// deleteAll stops and forgets every service.
func (a *Agent) deleteAll(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), ctlLimit)
	defer cancel()
	for _, name := range a.services(ctx, t) {
		for _, args := range [][]string{{"stop", "--now", name}, {"delete", "-y", name}} {
			if r := a.ctl(ctx, args...); r.Code != 0 {
				t.Errorf("cleaning up: %v", r)
			}
		}
	}
}
