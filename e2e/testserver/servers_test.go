package testserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/e2e/load"
)

var bin string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "testserver")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = dir
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", dir, "./...").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// parent holds one socket and starts programs on it, as systemd would.
type parent struct {
	t      *testing.T
	socket *os.File
	addr   string
	name   string // of the socket
	notify *net.UnixConn
	path   string
}

// reusable makes listeners that others of the same user may join.
var reusable = net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	return errors.Join(cerr, err)
}}

func newParent(t *testing.T, network, address string) *parent {
	t.Helper()
	p := &parent{t: t, name: "http", path: filepath.Join(t.TempDir(), "n")}
	if network == "udp" {
		p.name = "udp"
		pc, err := net.ListenPacket(network, address)
		p.must(err)
		p.addr = pc.LocalAddr().String()
		p.keep(pc.(*net.UDPConn))
		pc.Close()
	} else {
		ln, err := reusable.Listen(t.Context(), network, address)
		p.must(err)
		p.addr = ln.Addr().String()
		if u, ok := ln.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		p.keep(ln.(syscall.Conn))
		ln.Close()
	}
	var err error
	p.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: p.path})
	p.must(err)
	t.Cleanup(func() { p.notify.Close() })
	return p
}

func (p *parent) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// keep holds a duplicate. The File method would not do: passing its result to a
// child makes the socket blocking, for all generations.
func (p *parent) keep(s syscall.Conn) {
	raw, err := s.SyscallConn()
	p.must(err)
	var dup int
	p.must(raw.Control(func(fd uintptr) { dup, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }))
	p.must(err)
	p.socket = os.NewFile(uintptr(dup), p.name)
	p.t.Cleanup(func() { p.socket.Close() })
}

// program is a running one; done has its exit.
type program struct {
	*exec.Cmd
	log  bytes.Buffer
	done chan error
}

func (p *parent) start(generation int, name string, args ...string) *program {
	p.t.Helper()
	// The shell knows the pid that LISTEN_PID must name.
	g := &program{done: make(chan error, 1)}
	g.Cmd = exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, filepath.Join(bin, name)}, args...)...)
	g.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES="+p.name, "NOTIFY_SOCKET="+p.path,
		"GRACEFLEET_SERVICE=web", fmt.Sprintf("GRACEFLEET_GENERATION=%d", generation))
	g.ExtraFiles = []*os.File{p.socket}
	g.Stdout, g.Stderr = &g.log, &g.log
	g.WaitDelay = time.Second // a leftover may hold the output
	p.must(g.Start())
	go func() { g.done <- g.Wait() }()
	p.t.Cleanup(func() { g.Process.Kill() })
	return g
}

// hear returns the next message, "" when none comes in time.
func (p *parent) hear(d time.Duration) string {
	p.notify.SetReadDeadline(time.Now().Add(d))
	b := make([]byte, 8192)
	n, _ := p.notify.Read(b)
	return string(b[:n])
}

func (p *parent) awaitReady(g *program) {
	p.t.Helper()
	for {
		m := p.hear(10 * time.Second)
		if strings.HasPrefix(m, "READY=1") {
			return
		}
		if m == "" {
			p.t.Fatalf("never ready: %s", &g.log)
		}
	}
}

func (p *parent) get(path string) (int, string, error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + p.addr + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// exit waits for the end of the program and returns its status.
func (p *parent) exit(g *program, d time.Duration) int {
	p.t.Helper()
	select {
	case err := <-g.done:
		var ee *exec.ExitError
		if err != nil && !errors.As(err, &ee) && !errors.Is(err, exec.ErrWaitDelay) {
			p.t.Fatal(err)
		}
		return g.ProcessState.ExitCode()
	case <-time.After(d):
		p.t.Fatalf("still running after %v: %s", d, &g.log)
		return 0
	}
}

// Ten upgrades on one shared socket, without any steering: the library alone
// must see to it that nothing is lost.
func TestLibraryLosesNothingInTenUpgrades(t *testing.T) {
	for _, c := range []struct{ name, network string }{{"runtime", "tcp"}, {"unixhttp", "unix"}} {
		t.Run(c.name, func(t *testing.T) {
			address := "127.0.0.1:0"
			if c.network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			p := newParent(t, c.network, address)
			upgrades := 10
			if testing.Short() {
				upgrades = 3
			}
			current := p.start(1, c.name, "-lame-duck=300ms")
			p.awaitReady(current)
			l := load.Run(t.Context(), load.Config{Address: p.addr, Fresh: 1000, KeepAlive: 1000, Connections: 20})
			answered := func(gen int) {
				t.Helper()
				eventually(t, fmt.Sprintf("generation %d answers", gen), func() bool {
					return l.Snapshot().Generations[strconv.Itoa(gen)].Answers >= 200
				})
			}
			answered(1)
			var ended []*program
			for gen := 2; gen <= upgrades+1; gen++ {
				next := p.start(gen, c.name, "-lame-duck=300ms")
				p.awaitReady(next)
				p.must(current.Process.Signal(syscall.SIGTERM))
				ended = append(ended, current)
				current = next
				answered(gen)
			}
			for _, g := range ended {
				if status := p.exit(g, 20*time.Second); status != 0 {
					t.Errorf("exit %d: %s", status, &g.log)
				}
			}
			s := l.Stop()
			t.Log(s)
			if s.Lost() != 0 {
				t.Errorf("lost %d requests", s.Lost())
			}
			if len(s.Generations) != upgrades+1 {
				t.Errorf("%d generations answered, want %d", len(s.Generations), upgrades+1)
			}
		})
	}
}

// The same with a server that calls Shutdown at once: the load must notice.
func TestPlainLosesRequestsWhenSignalled(t *testing.T) {
	p := newParent(t, "tcp", "127.0.0.1:0")
	current := p.start(1, "plain", "-notify")
	p.awaitReady(current)
	l := load.Run(t.Context(), load.Config{Address: p.addr, Fresh: 1000, KeepAlive: 1000, Connections: 50})
	for gen := 2; gen <= 60 && l.Snapshot().Lost() == 0; gen++ {
		next := p.start(gen, "plain", "-notify")
		p.awaitReady(next)
		p.must(current.Process.Signal(syscall.SIGTERM))
		p.exit(current, 20*time.Second)
		current = next
		time.Sleep(50 * time.Millisecond)
	}
	s := l.Stop()
	t.Log(s)
	if s.Lost() == 0 {
		t.Error("nothing was lost: this load would not notice a loss")
	}
}

func TestRaw(t *testing.T) {
	p := newParent(t, "tcp", "127.0.0.1:0")
	g := p.start(3, "raw")
	status, body, err := p.get("/")
	if err != nil || status != 200 || !strings.HasPrefix(body, "gen=3 version=dev pid=") {
		t.Fatalf("%d %q %v", status, body, err)
	}
	p.must(g.Process.Signal(syscall.SIGTERM))
	p.exit(g, 5*time.Second)
}

func TestUDP(t *testing.T) {
	p := newParent(t, "udp", "127.0.0.1:0")
	g := p.start(4, "udp")
	p.awaitReady(g)
	c, err := net.Dial("udp", p.addr)
	p.must(err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(c, "hello")
	b := make([]byte, 256)
	n, err := c.Read(b)
	if got := string(b[:n]); err != nil || !strings.HasPrefix(got, "gen=4 ") || !strings.HasSuffix(got, " hello") {
		t.Errorf("%q %v", got, err)
	}
	p.must(g.Process.Signal(syscall.SIGTERM))
	if status := p.exit(g, 5*time.Second); status != 0 {
		t.Errorf("exit %d: %s", status, &g.log)
	}
}

func TestRuntimeMisbehavesOnRequest(t *testing.T) {
	p := newParent(t, "tcp", "127.0.0.1:0")
	g := p.start(5, "runtime", "-fail-health", "-fail-after=1ms")
	p.awaitReady(g)
	if m := p.hear(5 * time.Second); !strings.HasPrefix(m, "X_GRACEFLEET_FAIL=asked to by -fail-after\n") {
		t.Errorf("told %q", m)
	}
	if status, _, err := p.get("/healthz"); status != 503 {
		t.Errorf("/healthz: %d %v", status, err)
	}
	if status, _, err := p.get("/misbehave?status=500"); status != 200 {
		t.Errorf("/misbehave: %d %v", status, err)
	}
	if status, body, err := p.get("/slow?d=1ms"); status != 500 || !strings.HasPrefix(body, "gen=5 ") {
		t.Errorf("/slow: %d %q %v", status, body, err)
	}
	p.get("/misbehave?exit=9")
	if status := p.exit(g, 5*time.Second); status != 9 {
		t.Errorf("exit %d, want 9", status)
	}
}
