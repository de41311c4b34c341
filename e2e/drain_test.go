//go:build linux

package e2e

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// The program holds connections, ends at once on SIGTERM and knows nothing of a
// drain: what is left of it is counted by the kernel.
func TestDrainStatus(t *testing.T) {
	const steps = 5
	connections := 1000
	if full {
		connections = 5000
	}
	s := start(t, "raw", patientDrain)
	digest := s.push("v2")
	open := make([]net.Conn, 0, connections)
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range connections {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		if _, err := fmt.Fprintln(c, "hello"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 256)); err != nil {
			t.Fatal(err)
		}
	}
	s.upgrade(digest, 0)
	s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
	s.awaitLeft(1, connections)
	before, began := s.CPU(), time.Now()
	for len(open) > 0 {
		n := connections / steps
		for _, c := range open[:n] {
			c.Close()
		}
		open = slices.Delete(open, 0, n)
		if len(open) > 0 {
			s.awaitLeft(1, len(open))
		}
	}
	ended := s.await(1, pb.Generation_STATE_STOPPED)
	t.Logf("%d connections drained in %v: %v of agent CPU per 1000 closes",
		connections, time.Since(began).Round(time.Millisecond), (s.CPU()-before)*1000/time.Duration(connections))
	if forced := ended.GetDrain().GetForcedConnections(); forced != 0 {
		t.Errorf("%d connections were cut", forced)
	}
}

// awaitLeft waits for a count to be streamed. Each count before it must be
// larger: connections only close.
func (s *service) awaitLeft(generation int32, want int) {
	s.t.Helper()
	s.Await(s.t, "web", func(st *pb.ServiceStatus) bool {
		d := harness.Generation(st, generation).GetDrain()
		if d == nil || d.OpenConnections == nil {
			return false
		}
		if got := int(d.GetOpenConnections()); got < want {
			s.t.Errorf("%d connections are said to be left, there are %d", got, want)
		}
		return int(d.GetOpenConnections()) == want
	}, awaitLimit)
}

// At the deadline of a drain the program is killed, and what was cut is counted.
func TestDrainDeadline(t *testing.T) {
	t.Parallel()
	s := start(t, "raw", "sockets: [{name: http, listen: \"ADDRESS\"}]\nupgrade: {soak: 0s}\ndrain: {mode: patient, patience: 300ms, timeout: 300ms, signal: SIGWINCH}\n")
	for range 3 {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := fmt.Fprintln(c, "hello"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 256)); err != nil {
			t.Fatal(err)
		}
	}
	s.upgrade(s.push("v2"), 0)
	ended := s.await(1, pb.Generation_STATE_STOPPED)
	if got := ended.GetDrain().GetForcedConnections(); got != 3 {
		t.Errorf("%d connections were cut by the kill, want 3: %v", got, ended)
	}
}
