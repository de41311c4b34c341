package shim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/needs"
)

// agentProcess is an agent of its own, to be killed: it spawns a shim, starts a
// program and says so.
func agentProcess() {
	dir := os.Getenv("SHIM_TEST_AGENT")
	shimBinary, probeBinary = os.Getenv("SHIM_TEST_BINARY"), os.Getenv("SHIM_TEST_PROBE")
	in := Intent{StateID: "id", Service: "web", Slot: 1, Generation: 7, Directory: dir}
	c, err := Spawn(context.Background(), shimBinary, in)
	if err == nil {
		_, err = c.Start(context.Background(), program(in, 1))
	}
	fmt.Println("started", err)
	select {}
}

func TestAgentKilled(t *testing.T) {
	in := testIntent(t)
	agent := exec.Command(os.Args[0])
	agent.Env = append(os.Environ(), "SHIM_TEST_AGENT="+in.Directory, "SHIM_TEST_BINARY="+shimBinary, "SHIM_TEST_PROBE="+probeBinary)
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	agent.Process.Kill()
	agent.Wait()
	if line != "started <nil>\n" {
		t.Fatalf("agent: %q", line)
	}
	c, err := Dial(testContext(t), in.Directory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, c, in.Directory) })
	s := c.Hello().State
	if !s.Current.Ready {
		await(t, c, EventReady)
	}
	if !s.Current.Alive() || !s.Current.Process.Same() || s.Service != "web" || s.StateID != "id" {
		t.Errorf("adopted %+v, current %+v", s, s.Current)
	}
	if _, err := Spawn(testContext(t), shimBinary, in); !errors.Is(err, ErrRunning) {
		t.Errorf("a second shim in the directory: got %v, want ErrRunning", err)
	}
}

func TestRespawnWithoutAgent(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	dir := filepath.Dir(in.Directory)
	p := shell(in, 1, fmt.Sprintf("echo run >>%[1]s/runs; exec 9>%[1]s/fifo; test $(wc -l <%[1]s/runs) = 3 && exec sleep 60; exit 1", dir))
	p.Restart = Restart{Restart: service.Restart{Policy: service.RestartOnFailure, Backoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond}, Budget: 5}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	go func() { first <- drain(fifo) }()
	start(t, c, p)
	await(t, c, EventExited)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if s := state(t, c); s.Restarts != 0 {
		t.Fatal("the shim restarted a program under an agent's eyes")
	}
	c.Close()
	if err := drain(fifo); err != nil { // the second run
		t.Fatal(err)
	}
	f, err := os.Open(fifo) // the third, which stays
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err = Dial(testContext(t), in.Directory)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := c.Hello().State
	if s.Restarts != 2 || s.Current.Number != 3 || !s.Current.ByShim || !s.Current.Alive() || len(s.Past) != 2 || s.Past[1].Exit.Code != 1 {
		t.Errorf("state %+v, current %+v", s, s.Current)
	}
}

// drain opens a FIFO and reads it to the end: to the writer's death.
func drain(fifo string) error {
	_, err := os.ReadFile(fifo)
	return err
}

func TestToldToStopIsNotRespawned(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	p := program(in, 1)
	p.Restart = Restart{Restart: service.Restart{Policy: service.RestartAlways, Backoff: time.Millisecond, MaxBackoff: time.Millisecond}, Budget: 5}
	i := start(t, c, p)
	await(t, c, EventReady)
	if err := c.Signal(testContext(t), SignalRequest{Op: "1", Instance: 1, Signal: 15, Stop: true}); err != nil {
		t.Fatal(err)
	}
	c.Close()
	gone(t, i.Process)
	time.Sleep(50 * time.Millisecond) // fifty backoffs: there is no event for nothing
	c, err := Dial(testContext(t), in.Directory)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if s := c.Hello().State; s.Restarts != 0 || s.Current.Alive() {
		t.Errorf("restarted: %+v", s.Current)
	}
}

func TestShimIgnoresSignals(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	pid := c.Hello().State.PID
	untold := []syscall.Signal{
		syscall.SIGPIPE, syscall.SIGALRM, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGWINCH,
		syscall.SIGIO, syscall.SIGPWR, syscall.SIGVTALRM, syscall.SIGXCPU, syscall.SIGXFSZ, 35, 40, 64,
	}
	for _, sig := range untold {
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2} {
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
		if e := await(t, c, EventSignal); e.Signal != int(sig) {
			t.Errorf("got signal %d, want %d", e.Signal, sig)
		}
	}
	state(t, c)
}

func TestIdleShimEnds(t *testing.T) {
	in := testIntent(t)
	in.Idle = 50 * time.Millisecond
	c := spawnTest(t, in)
	s := c.Hello().State
	p, err := Identify(s.PID)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * in.Idle)
	state(t, c) // an agent that is connected keeps it
	c.Close()
	gone(t, p)
	if _, err := Dial(testContext(t), in.Directory); !errors.Is(err, ErrGone) {
		t.Errorf("got %v, want ErrGone", err)
	}
	if _, err := os.Stat(ControlPath(in.Directory)); !os.IsNotExist(err) {
		t.Errorf("the control socket is left: %v", err)
	}
}

func TestNewestAgentWins(t *testing.T) {
	in := testIntent(t)
	old := spawnTest(t, in)
	c, err := Dial(testContext(t), in.Directory)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	await(t, old, EventSuperseded)
	if _, ok := <-old.Events(); ok {
		t.Error("an event after the last")
	}
	if _, err := old.State(testContext(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("the old agent: got %v, want ErrClosed", err)
	}
	state(t, c)
	if _, err := c.call(testContext(t), "dance", nil, nil, nil); !errors.Is(err, ErrUnknownOp) {
		t.Errorf("got %v, want ErrUnknownOp", err)
	}
}

func TestOtherUsersAreRefused(t *testing.T) {
	needs.That(t, os.Geteuid() == 0, "only root may become another user")
	in := testIntent(t)
	c := spawnTest(t, in)
	os.Chmod(ControlPath(in.Directory), 0o666) // so that only the peer check is left
	cmd := exec.Command(probeBinary, "peer", ControlPath(in.Directory))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if !strings.Contains(string(out), `"code":"forbidden"`) || !strings.Contains(string(out), "end EOF") {
		t.Errorf("got %s, %v", out, err)
	}
	state(t, c) // the rightful agent is still connected
}

func TestReplacementShimInherits(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	ctx := testContext(t)
	web := tcpSocket(t, "web")
	l, err := c.Open(ctx, []service.Socket{web}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l[0].File.Close()
	p := program(in, 1)
	p.Sockets = []string{"web"}
	i := start(t, c, p)
	await(t, c, EventReady)
	shim, err := Identify(c.Hello().State.PID)
	if err != nil {
		t.Fatal(err)
	}
	syscall.Kill(shim.PID, syscall.SIGKILL)
	gone(t, shim)
	c.Close()

	c = spawnTest(t, in)
	inheritance := Inheritance{Sockets: []service.Socket{web}, Files: []*os.File{l[0].File}, Program: &p, Process: &i.Process}
	if err := c.Inherit(ctx, inheritance); err != nil {
		t.Fatal(err)
	}
	s := state(t, c)
	if !s.Current.Alive() || !s.Current.Inherited || s.Sockets[0].Cookie != l[0].Cookie {
		t.Errorf("state %+v, current %+v", s, s.Current)
	}
	if again := start(t, c, p); again.Process != i.Process {
		t.Errorf("the running instance was not recognised: %+v", again)
	}
	if err := c.Signal(ctx, SignalRequest{Op: "1", Instance: 1, Signal: 15, Stop: true}); err != nil {
		t.Fatal(err)
	}
	if e := await(t, c, EventExited); e.Exit.Known || e.Exit.Success() {
		t.Errorf("exit %+v, want unknown", e.Exit)
	}
	await(t, c, EventEmpty)
	p.Instance = 2
	start(t, c, p)
	await(t, c, EventReady)
}

func TestMissingBinary(t *testing.T) {
	in := testIntent(t)
	_, err := Spawn(testContext(t), "/nonexistent/graced-shim", in)
	if !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), "/nonexistent/graced-shim") {
		t.Errorf("got %v", err)
	}
	_, err = Spawn(testContext(t), "/bin/false", in)
	if !errors.Is(err, ErrGone) {
		t.Errorf("got %v, want ErrGone", err)
	}
	in.Directory = "/tmp/" + strings.Repeat("x", 107)
	if _, err = Spawn(testContext(t), shimBinary, in); err == nil || !strings.Contains(err.Error(), "at most 107") {
		t.Errorf("got %v, want the limit", err)
	}
}
