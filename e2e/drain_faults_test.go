//go:build linux

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

const lineService = "sockets: [{name: http, listen: \"ADDRESS\"}]\nupgrade: {soak: 0s}\n"

// A generation whose client stays, stays: it has no deadline.
func TestPatienceWithoutEnd(t *testing.T) {
	s := start(t, "raw", lineService+"drain: {mode: patient}\n")
	client := s.lines(t, 1)[0]
	s.upgrade(s.push("v2"), 0)
	s.awaitLeft(1, 1)
	st := s.Await(t, "web", func(st *pb.ServiceStatus) bool {
		return harness.Generation(st, 1).GetDrain().GetPhase() == pb.DrainStatus_PHASE_PATIENT
	}, awaitLimit)
	old := harness.Generation(st, 1)
	if old.GetDrain().GetDeadline() != nil {
		t.Errorf("the drain has a deadline: %v", old.GetDrain())
	}
	for range 3 {
		time.Sleep(200 * time.Millisecond)
		said := make([]byte, 256)
		if _, err := fmt.Fprintln(client, "still here"); err != nil {
			t.Fatal(err)
		}
		n, err := client.Read(said)
		if err != nil || !strings.HasPrefix(string(said[:n]), "gen=1 ") {
			t.Fatalf("the client of generation 1 hears %q, %v", said[:n], err)
		}
	}
	client.Close()
	if exit := s.await(1, pb.Generation_STATE_STOPPED); exit.GetPid() != 0 || exit.GetDrain().GetForcedConnections() != 0 {
		t.Errorf("generation 1 ended as %v", exit)
	}
}

// After drain.patience the program is told to end, and its own grace begins.
func TestPatienceEnds(t *testing.T) {
	s := start(t, "runtime", "sockets: [{name: http, listen: \"ADDRESS\"}]\nready: {notify: {}}\nupgrade: {soak: 0s}\ndrain: {mode: patient, patience: 400ms, timeout: 20s}\n")
	l := s.load(0, 100, nil)
	answered(t, l, 50)
	began := time.Now()
	s.upgrade(s.push("v2"), 0)
	st := s.Await(t, "web", func(st *pb.ServiceStatus) bool {
		return harness.Generation(st, 1).GetDrain().GetPhase() == pb.DrainStatus_PHASE_PATIENT
	}, awaitLimit)
	if harness.Generation(st, 1).GetDrain().GetDeadline() == nil {
		t.Error("a limited patience has no deadline")
	}
	ended := s.await(1, pb.Generation_STATE_STOPPED)
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("it ended after %v, before its patience did", took)
	}
	if n := ended.GetDrain().GetForcedConnections(); n != 0 {
		t.Errorf("%d connections were cut", n)
	}
	answered(t, l, 50)
	unharmed(t, l)
}

// What a deadline cuts is in the result, the status and the history.
func TestForcedConnectionsAreReported(t *testing.T) {
	s := start(t, "raw", lineService+"drain: {mode: signal, timeout: 300ms, signal: SIGWINCH}\n")
	s.lines(t, 3)
	s.push("v2")
	r := s.Ctl(t, "upgrade", "web", harness.Program(t, "raw", "v2"), "--wait", "drained", "-o", "json")
	if r.Code != 0 || !strings.Contains(r.Stdout, `"forcedConnections":3`) {
		t.Errorf("the result does not say that 3 connections were cut: %v", r)
	}
	for _, command := range []string{"status", "history"} {
		if out := s.CtlOK(t, command, "web", "-o", "json"); !strings.Contains(strings.ReplaceAll(out, " ", ""), `"forcedConnections":3`) {
			t.Errorf("the %s does not say that 3 connections were cut:\n%s", command, out)
		}
	}
	if out := s.CtlOK(t, "events", "web"); !strings.Contains(out, "3 connections were cut") {
		t.Errorf("no event says that 3 connections were cut:\n%s", out)
	}
}

// Several generations drain beside each other, up to a limit that names the
// oldest; it is ended only when asked for.
func TestTooManyGenerations(t *testing.T) {
	s := start(t, "raw", lineService+"drain: {mode: patient, timeout: 500ms, max_generations: 4}\n")
	digests := []string{s.push("v2"), s.push("v1")}
	clients := s.lines(t, 2)
	for i := range 3 {
		s.upgrade(digests[i%2], 0)
		s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
		if i < 2 {
			clients = append(clients, s.lines(t, 2)...)
		}
	}
	for generation := int32(1); generation <= 3; generation++ {
		s.awaitLeft(generation, 2)
	}
	r := s.Ctl(t, "upgrade", "web", "--artifact", digests[1])
	if r.Code != 1 || !strings.Contains(r.Stderr, "oldest, generation 1, is draining with 2 connections") || !strings.Contains(r.Stderr, "--force-oldest") {
		t.Errorf("an upgrade to a fifth generation: %v", r)
	}
	s.CtlOK(t, "upgrade", "web", "--artifact", digests[1], "--force-oldest")
	if got := s.await(1, pb.Generation_STATE_STOPPED).GetDrain().GetForcedConnections(); got != 2 {
		t.Errorf("%d connections of the oldest were cut, want 2", got)
	}
	for i, c := range clients[2:] {
		if _, err := fmt.Fprintln(c, "hello"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 256)); err != nil {
			t.Errorf("client %d of another generation: %v", i, err)
		}
		c.Close()
	}
	s.awaitAlone(awaitLimit)
}

// Clients that keep idle connections would keep an old generation for ever: a
// nudge has the program close those, of its own accord.
func TestNudge(t *testing.T) {
	harness.Need(t, os.Geteuid() == 0, "taking a descriptor out of a program needs root")
	for _, name := range []string{"nginx", "node", "python", "gracehttp"} {
		t.Run(name, func(t *testing.T) {
			s := startKnown(t, name, "upgrade: {soak: 0s}\ndrain: {nudge: 300ms}\n")
			idle := make([]net.Conn, 20)
			for i := range idle {
				c, err := net.Dial("tcp", s.address)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if err := exchange(c); err != nil {
					t.Fatal(err)
				}
				idle[i] = c
			}
			l := s.load(100, 0, nil)
			s.CtlOK(t, "restart", "web")
			g := s.await(1, pb.Generation_STATE_STOPPED)
			if g.GetExit().GetSignal() == int32(syscall.SIGKILL) {
				t.Errorf("the old generation was ended by force: %v", g)
			}
			for _, c := range idle {
				_ = c.SetReadDeadline(time.Now().Add(awaitLimit))
				if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
					t.Errorf("an idle connection ended with %d bytes, %v; want a polite end", n, err)
				}
			}
			unharmed(t, l)
		})
	}
}

// exchange makes one request on a connection that stays.
func exchange(c net.Conn) error {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// At the deadline connections can be reset instead of the program killed: it ends
// by itself, and the operator reads whose they were.
func TestConnectionsAreClosedAtTheDeadline(t *testing.T) {
	harness.Need(t, os.Geteuid() == 0, "resetting somebody's connections needs root")
	s := startKnown(t, "nginx", "upgrade: {soak: 0s}\ndrain: {mode: signal, timeout: 300ms, at_deadline: close_connections}\n")
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	get(t, s.address)
	s.CtlOK(t, "restart", "web")
	g := s.await(1, pb.Generation_STATE_STOPPED)
	if x := g.GetExit(); x.GetCode() != 0 || x.GetSignal() != 0 {
		t.Errorf("the program ended by %v, want by itself", x)
	}
	want := "1 connections were reset at its deadline: " + c.LocalAddr().String()
	if events := s.CtlOK(t, "events", "web"); !strings.Contains(events, want) {
		t.Errorf("no event says %q:\n%s", want, events)
	}
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended by %v, want a reset", err)
	}
}
