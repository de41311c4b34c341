//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
	"github.com/gracefleet/gracefleet/e2e/load"
)

// startAt declares a service on an address of its own.
func startAt(t *testing.T, folder, listen, rest string) *service {
	t.Helper()
	s := &service{Agent: harness.Start(t), t: t, folder: folder}
	s.spec = strings.ReplaceAll(rest, "ADDRESS", strings.ReplaceAll(listen, "DIR", s.Dir))
	s.Apply(t, s.yaml("v1"))
	s.await(1, pb.Generation_STATE_ACTIVE)
	return s
}

func needIPv6(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	harness.Need(t, err == nil, "this host has no IPv6 loopback")
	l.Close()
}

// An upgrade and a rollback on IPv6 alone, probed over the private path.
func TestIPv6Only(t *testing.T) {
	needIPv6(t)
	port := harness.FreePort(t)
	s := startAt(t, "runtime", fmt.Sprintf("tcp://[::1]:%d", port), "sockets: [{name: http, listen: \"ADDRESS\"}]\nready: {http: {socket: http, path: /healthz}}\nupgrade: {soak: 0s}\ndrain: {mode: signal}\n")
	s.thereAndBack(fmt.Sprintf("[::1]:%d", port))
}

func TestIPv6WildcardOnly(t *testing.T) {
	needIPv6(t)
	port := harness.FreePort(t)
	s := startAt(t, "plain", fmt.Sprintf("tcp://[::]:%d", port), "sockets: [{name: http, listen: \"ADDRESS\", v6only: true}]\nready: {http: {socket: http, path: /}}\nupgrade: {soak: 0s}\n")
	s.thereAndBack(fmt.Sprintf("[::1]:%d", port))
	if _, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		t.Error("a service on IPv6 alone answers over IPv4")
	}
}

func TestDualStack(t *testing.T) {
	needIPv6(t)
	port := harness.FreePort(t)
	s := startAt(t, "runtime", fmt.Sprintf("tcp://[::]:%d", port), "sockets: [{name: http, listen: \"ADDRESS\"}]\nready: {http: {socket: http, path: /healthz}}\nupgrade: {soak: 0s}\ndrain: {mode: signal}\n")
	s.thereAndBack(fmt.Sprintf("[::1]:%d", port), fmt.Sprintf("127.0.0.1:%d", port))
}

// The path leads to a generation at every moment.
func TestUnixSocket(t *testing.T) {
	s := startAt(t, "unixhttp", "unix://DIR/web.sock", "sockets: [{name: http, listen: \"ADDRESS\"}]\nready: {notify: {}}\nupgrade: {soak: 0s}\ndrain: {mode: signal}\n")
	s.thereAndBack("unix:" + filepath.Join(s.Dir, "web.sock"))
}

// thereAndBack upgrades and rolls back under load on all of the addresses.
func (s *service) thereAndBack(addresses ...string) {
	s.t.Helper()
	digest := s.push("v2")
	var loads []*load.Load
	for _, a := range addresses {
		l := load.Run(s.t.Context(), load.Config{Address: a, Fresh: rate(), KeepAlive: rate()})
		loads = append(loads, l)
	}
	every := func(n int64) {
		for _, l := range loads {
			answered(s.t, l, n)
		}
	}
	every(50)
	s.upgrade(digest, 0)
	s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
	every(100)
	s.CtlOK(s.t, "rollback", "web")
	every(100)
	for _, l := range loads {
		seen := unharmed(s.t, l)
		if seen.Generations["2"].Fresh == 0 {
			s.t.Errorf("generation 2 answered no new connection:\n%v", seen)
		}
	}
	s.awaitAlone(5 * time.Second)
}

// A path that somebody removes is put back.
func TestUnixPathIsGuarded(t *testing.T) {
	t.Parallel()
	s := startAt(t, "unixhttp", "unix://DIR/web.sock", "sockets: [{name: http, listen: \"ADDRESS\", mode: 0640}]\nready: {notify: {}}\nupgrade: {soak: 0s}\ndrain: {mode: signal}\n")
	path := filepath.Join(s.Dir, "web.sock")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o640 {
		t.Errorf("the socket's mode is %v, want 0640", info.Mode().Perm())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(awaitLimit)
	for {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the path is not put back: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.CtlOK(t, "stop", "web")
	for deadline := time.Now().Add(awaitLimit); ; time.Sleep(5 * time.Millisecond) {
		_, err := os.Lstat(path)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the path of a stopped service: %v, want none", err)
		}
	}
}

// No datagram is dropped at the switch. Flows hash to a generation: after it,
// all of them reach the new one.
func TestUDP(t *testing.T) {
	port := harness.FreePort(t)
	s := startAt(t, "udp", fmt.Sprintf("udp://127.0.0.1:%d", port), "sockets: [{name: udp, listen: \"ADDRESS\"}]\nready: {notify: {}}\nupgrade: {soak: 0s}\ndrain: {mode: signal, timeout: 10s}\n")
	digest := s.push("v2")
	f := startFlows(t, port)
	f.heard(100)
	s.upgrade(digest, 0)
	s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
	f.heard(100)
	s.CtlOK(t, "rollback", "web")
	f.heard(100)
	f.end()
	s.awaitAlone(5 * time.Second)
}

// flows are clients that send datagrams, one after the other is answered.
type flows struct {
	t        *testing.T
	cancel   context.CancelFunc
	running  sync.WaitGroup
	answers  atomic.Int64
	switches atomic.Int64
}

const flowCount = 20

func startFlows(t *testing.T, port int) *flows {
	ctx, cancel := context.WithCancel(t.Context())
	f := &flows{t: t, cancel: cancel}
	for range flowCount {
		c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		f.running.Go(func() {
			defer c.Close()
			f.run(ctx, c)
		})
	}
	t.Cleanup(f.end)
	return f
}

func (f *flows) run(ctx context.Context, c net.Conn) {
	buf := make([]byte, 2048)
	last := ""
	for i := 0; ctx.Err() == nil; i++ {
		c.SetDeadline(time.Now().Add(awaitLimit / 10))
		message := fmt.Sprintf("datagram %d", i)
		if _, err := c.Write([]byte(message)); err != nil {
			f.t.Errorf("send: %v", err)
			return
		}
		n, err := c.Read(buf)
		if err != nil {
			f.t.Errorf("a datagram was lost: %v", err)
			return
		}
		who, rest, _ := strings.Cut(string(buf[:n]), " ")
		if !strings.HasSuffix(rest, message) {
			f.t.Errorf("%q answers %q", rest, message)
			return
		}
		if who != last && last != "" {
			f.switches.Add(1)
		}
		last = who
		f.answers.Add(1)
		time.Sleep(2 * time.Millisecond) // a pace, not a wait
	}
}

// heard waits for so many more answers of each flow, on average.
func (f *flows) heard(n int64) {
	f.t.Helper()
	deadline := time.Now().Add(awaitLimit)
	for target := f.answers.Load() + n*flowCount; f.answers.Load() < target; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatal("the flows get no answers")
		}
	}
}

// end stops the flows; each has changed its generation at the upgrade and at the
// rollback, and not otherwise.
func (f *flows) end() {
	f.cancel()
	f.running.Wait()
	if got := f.switches.Load(); got != 2*flowCount && !f.t.Failed() {
		f.t.Errorf("%d flows changed their generation %d times, want 2 each", flowCount, got)
	}
}

// An address that only the new generation declares is closed to users until that
// generation is ready, although it listens there from the start.
func TestNewAddressIsClosedUntilReady(t *testing.T) {
	harness.Need(t, os.Geteuid() == 0, "only root may keep users off a tcp socket")
	s := start(t, "runtime", signalDrain)
	added := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	both := "sockets: [{name: http, listen: \"tcp://" + s.address + "\"}, {name: more, listen: \"tcp://" + added + "\"}]\n"
	yaml := func(args, ready string) string {
		return "name: web\nartifact: " + harness.Program(t, "bad", "v2") + "\nargs: [" + args + "]\n" + both + "ready: " + ready + "\nupgrade: {soak: 0s}\n"
	}
	s.CtlOK(t, "upgrade", "web", "--wait", "none", "-f", s.Spec(t, yaml("-mode=never-ready", "{notify: {}, timeout: 3s}")))
	s.Await(t, "web", func(st *pb.ServiceStatus) bool { return harness.Generation(st, 2).GetPid() != 0 }, awaitLimit)
	var timeout net.Error
	if c, err := net.DialTimeout("tcp", added, 300*time.Millisecond); err == nil {
		c.Close()
		t.Error("a user reached the new address before its generation was ready")
	} else if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("the new address: %v, want silence", err)
	}
	s.awaitUpgrade(pb.Upgrade_STATE_FAILED)
	s.awaitAlone(awaitLimit)

	s.CtlOK(t, "upgrade", "web", "-f", s.Spec(t, yaml("-mode=ignore-term", "{notify: {}}")))
	c, err := net.DialTimeout("tcp", added, awaitLimit)
	if err != nil {
		t.Fatalf("the new address once its generation is active: %v", err)
	}
	c.Close()
}
