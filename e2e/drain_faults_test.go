//go:build linux

package e2e

import (
	"fmt"
	"strings"
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
