package gracefleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/internal/needs"
)

// playRole is the supervised program. LISTEN_PID must be its own pid, so it
// sets that itself and executes itself once more.
func playRole(role string) {
	if os.Getenv("LISTEN_PID") == "self" {
		os.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
		fail(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	}
	svc, err := Start(Options{LameDuck: 50 * time.Millisecond, DrainTimeout: 10 * time.Second})
	fail(err)
	switch role {
	case "serve":
		roleServe(svc)
	case "unclaimed":
		if err := svc.Ready(); !errors.Is(err, ErrUnclaimed) || !strings.Contains(err.Error(), `"http"`) {
			fail(fmt.Errorf("Ready: %w, want ErrUnclaimed naming http", err))
		}
	case "undeclared":
		_, err := svc.Listen("metrics", "tcp", "127.0.0.1:0")
		if !errors.Is(err, ErrUndeclared) || !strings.Contains(err.Error(), `"http"`) {
			fail(fmt.Errorf("Listen: %w, want ErrUndeclared with the sockets there are", err))
		}
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func roleServe(svc *Service) {
	ln, err := svc.Listen("http", "tcp", ":1")
	fail(err)
	pc, err := svc.ListenPacket("", "udp", os.Getenv("TEST_UDP"))
	fail(err)
	unix, err := svc.Listen("", "unix", os.Getenv("TEST_UNIX"))
	fail(err)
	mux := http.NewServeMux()
	mux.HandleFunc("/generation", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, svc.Generation()) })
	mux.HandleFunc("/fail", func(w http.ResponseWriter, r *http.Request) { svc.Fail("the\ncache is empty") })
	mux.HandleFunc("/udp", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, pc.LocalAddr()) })
	// What a program started by this one sees of the parent's gifts.
	mux.HandleFunc("/grandchild", func(w http.ResponseWriter, r *http.Request) {
		cmd := exec.Command("/bin/sh", "-c", "env; ls -l /proc/self/fd")
		cmd.Stdout, cmd.Stderr = w, w
		if err := cmd.Run(); err != nil {
			fmt.Fprint(w, err)
		}
	})
	srv := &http.Server{Handler: mux}
	go svc.ServeHTTP(srv, ln)
	go svc.ServeHTTP(srv, unix)
	fail(svc.Ready())
	fail(svc.Wait())
}

// supervised is a parent in the manner of systemd.
type supervised struct {
	cmd    *exec.Cmd
	http   *net.TCPListener
	udp    *net.UDPConn
	unix   *net.UnixListener
	notify *net.UnixConn
	stderr bytes.Buffer
}

func supervise(t *testing.T, role string, env ...string) *supervised {
	t.Helper()
	dir := t.TempDir()
	p := &supervised{}
	var err error
	p.http, err = net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	p.udp, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	p.unix, err = net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, "s")})
	must(t, err)
	p.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(dir, "n")})
	must(t, err)
	t.Cleanup(func() { p.http.Close(); p.udp.Close(); p.unix.Close(); p.notify.Close() })
	p.cmd = exec.Command(os.Args[0])
	for _, f := range []interface{ File() (*os.File, error) }{p.http, p.udp, p.unix} {
		file, err := f.File()
		must(t, err)
		defer file.Close()
		p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, file)
	}
	p.cmd.Env = append(os.Environ(), roleEnv+"="+role,
		"LISTEN_PID=self", "LISTEN_FDS=3", "LISTEN_FDNAMES=http:dns:",
		"NOTIFY_SOCKET="+filepath.Join(dir, "n"),
		"TEST_UDP="+p.udp.LocalAddr().String(), "TEST_UNIX="+filepath.Join(dir, "s"))
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stderr = &p.stderr
	must(t, p.cmd.Start())
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	return p
}

// hear waits for the next message of the program.
func (p *supervised) hear(t *testing.T) string {
	t.Helper()
	p.notify.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 8192)
	n, err := p.notify.Read(b)
	if err != nil {
		t.Fatalf("no message: %v; the program says %s", err, &p.stderr)
	}
	return string(b[:n])
}

func (p *supervised) get(t *testing.T, path string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + p.http.Addr().String() + path)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return string(b)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needExec(t *testing.T) {
	_, err := os.Stat("/proc/self/exe")
	needs.That(t, err == nil, "no /proc to execute this binary again from")
}

func TestUnderGraced(t *testing.T) {
	needExec(t)
	p := supervise(t, "serve", "GRACEFLEET_SERVICE=web", "GRACEFLEET_GENERATION=7")
	if got := p.hear(t); got != "READY=1\nSTATUS=ready" {
		t.Fatalf("first message %q", got)
	}
	if got := p.get(t, "/generation"); got != "7" {
		t.Errorf("generation %q, want 7", got)
	}
	if got := p.get(t, "/udp"); got != p.udp.LocalAddr().String() {
		t.Errorf("UDP socket %s, want the inherited %s", got, p.udp.LocalAddr())
	}
	p.get(t, "/fail")
	if got, want := p.hear(t), "X_GRACEFLEET_FAIL=the cache is empty\nSTATUS=failed: the cache is empty"; got != want {
		t.Errorf("Fail: %q, want %q", got, want)
	}

	held, err := net.Dial("unix", p.unix.Addr().String())
	must(t, err)
	defer held.Close()
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	if got := p.hear(t); !strings.HasPrefix(got, "STOPPING=1\nSTATUS=draining: ") {
		t.Errorf("after SIGTERM: %q", got)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("exit: %v: %s", err, &p.stderr)
	}
	// The parent's sockets are as they were.
	if _, err := os.Stat(p.unix.Addr().String()); err != nil {
		t.Errorf("the unix path was removed: %v", err)
	}
	c, err := net.Dial("tcp", p.http.Addr().String())
	if err != nil {
		t.Fatalf("the inherited socket no longer listens: %v", err)
	}
	c.Close()
}

func TestUnderSystemd(t *testing.T) {
	needExec(t)
	p := supervise(t, "serve")
	p.hear(t)
	if got := p.get(t, "/generation"); got != "0" {
		t.Errorf("generation %q, want 0", got)
	}
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("exit: %v: %s", err, &p.stderr)
	}
}

func TestGrandchildGetsNothing(t *testing.T) {
	needExec(t)
	p := supervise(t, "serve")
	p.hear(t)
	got := p.get(t, "/grandchild")
	if !strings.Contains(got, "PATH=") {
		t.Fatalf("no environment seen: %q", got)
	}
	for _, unwanted := range []string{"LISTEN_", "NOTIFY_SOCKET", "socket:"} {
		if strings.Contains(got, unwanted) {
			t.Errorf("the grandchild has %s:\n%s", unwanted, got)
		}
	}
}

func TestUnclaimedSocketIsAnError(t *testing.T) {
	needExec(t)
	p := supervise(t, "unclaimed", "GRACEFLEET_SERVICE=web", "GRACEFLEET_GENERATION=1")
	got := p.hear(t)
	if !strings.HasPrefix(got, "X_GRACEFLEET_FAIL=") || !strings.Contains(got, "\nSTATUS=") || !strings.Contains(got, `"dns"`) {
		t.Errorf("told %q", got)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, &p.stderr)
	}
}

func TestUndeclaredSocketIsAnError(t *testing.T) {
	needExec(t)
	p := supervise(t, "undeclared", "GRACEFLEET_SERVICE=web", "GRACEFLEET_GENERATION=1")
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, &p.stderr)
	}
}

func TestSecondSignalEndsTheDrain(t *testing.T) {
	svc := start(t, Options{})
	svc.Track("job")
	must(t, syscall.Kill(os.Getpid(), syscall.SIGINT))
	within(t, 5*time.Second, "Draining", svc.Draining())
	must(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
	err := svc.Wait()
	if !errors.Is(err, ErrInterrupted) || !strings.Contains(err.Error(), "1 job") {
		t.Errorf("Wait: %v, want ErrInterrupted with 1 job", err)
	}
	if cause := context.Cause(svc.Context()); !errors.Is(cause, ErrInterrupted) {
		t.Errorf("cause %v", cause)
	}
}
