package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// shimBinary is the real graced-shim, probeBinary a real service (see testdata).
var shimBinary, probeBinary string

func TestMain(m *testing.M) {
	if os.Getenv("SHIM_TEST_AGENT") != "" {
		agentProcess()
		return
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "gs")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		os.Chmod(dir, 0o755)
		shimBinary, probeBinary = filepath.Join(dir, "graced-shim"), filepath.Join(dir, "probe")
		build(shimBinary, "../../graced-shim", "SHIM_TEST_BINARY")
		build(probeBinary, "./testdata/probe", "SHIM_TEST_PROBE")
		code := m.Run()
		if err := goleak.Find(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		return code
	}())
}

// build builds a program, or copies one that was built before: the tests also
// run where there is no compiler, as another user.
func build(to, pkg, env string) {
	args := []string{"go", "build", "-o", to, pkg}
	if from := os.Getenv(env); from != "" {
		args = []string{"cp", from, to}
	}
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %v\n%s", args, err, out))
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// tempDir is short, since socket paths are.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "g")
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o755)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func testIntent(t testing.TB) Intent {
	return Intent{StateID: "id", Service: "web", Slot: 1, Generation: 7, Directory: filepath.Join(tempDir(t), "s")}
}

// spawnTest starts a shim that is dismissed with all it runs at the test's end.
func spawnTest(t testing.TB, in Intent) *Client {
	t.Helper()
	c, err := Spawn(testContext(t), shimBinary, in)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, c, in.Directory) })
	return c
}

// end kills and dismisses whatever shim answers in a directory.
func end(t testing.TB, c *Client, dir string) {
	c.Close()
	ctx := testContext(t)
	c, err := Dial(ctx, dir)
	if errors.Is(err, ErrGone) {
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	pid := c.Hello().State.PID
	fd := -1
	if p, err := Identify(pid); err == nil {
		fd, _ = p.open()
	}
	if err := c.Kill(ctx, "cleanup"); err != nil && !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	for empty := c.Hello().State.Empty; !empty; {
		s, err := c.State(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		if empty = s.Empty; !empty {
			if _, ok := <-c.Events(); !ok {
				break
			}
		}
	}
	if err := c.Dismiss(ctx, true); err != nil {
		t.Error(err)
	}
	if fd >= 0 {
		awaitExit(fd)
	}
}

// await reads events up to one of a kind.
func await(t testing.TB, c *Client, kind EventKind) Event {
	t.Helper()
	limit := time.After(15 * time.Second)
	for {
		select {
		case e, ok := <-c.Events():
			if !ok {
				t.Fatalf("waiting for %s: connection ended: %v", kind, c.Err())
			}
			if e.Kind == kind {
				return e
			}
		case <-limit:
			s, _ := c.State(testContext(t))
			t.Fatalf("no event %s; state %+v, current %+v", kind, s, s.Current)
		}
	}
}

// program runs the probe in one of its modes.
func program(in Intent, instance int, args ...string) Program {
	return Program{
		Instance: instance, Generation: in.Generation,
		Path: probeBinary, Argv: append([]string{"probe"}, args...),
		Env:    []string{"NOTIFY_SOCKET=" + NotifyPath(in.Directory), "LISTEN_PID=1", "A=b", "PATH=/usr/bin:/bin"},
		PIDEnv: []string{"LISTEN_PID"}, Umask: 0o022,
		Log: filepath.Join(filepath.Dir(in.Directory), "log"), Spec: []byte(`{"x":1}`),
	}
}

func start(t testing.TB, c *Client, p Program) Instance {
	t.Helper()
	i, err := c.Start(testContext(t), p)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func state(t testing.TB, c *Client) State {
	t.Helper()
	s, err := c.State(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func shell(in Intent, instance int, script string) Program {
	p := program(in, instance)
	p.Path, p.Argv = "/bin/sh", []string{"sh", "-c", script}
	return p
}

// freePort finds a port nobody has; another process could take it meanwhile.
func freePort(t testing.TB) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func tcpSocket(t testing.TB, name string) service.Socket {
	return service.Socket{Name: name, Address: service.Address{Network: service.TCP, IP: netip.MustParseAddr("127.0.0.1"), Port: freePort(t)}}
}

// ask sends a line to the probe's socket and returns the answer.
func ask(t testing.TB, network, address, line string) string {
	t.Helper()
	conn, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintln(conn, line)
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// gone waits until a process is dead, zombies included; there is no event for a
// process that is nobody's child here, other than its pidfd.
func gone(t testing.TB, p Process) {
	t.Helper()
	fd, err := p.open()
	if err != nil {
		return
	}
	done := make(chan struct{})
	go func() { awaitExit(fd); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		syscall.Kill(p.PID, syscall.SIGKILL)
		<-done
		t.Fatalf("process %d did not end", p.PID)
	}
}
