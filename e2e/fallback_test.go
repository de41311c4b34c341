//go:build linux

package e2e

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// startUnprivileged is start for an agent of an ordinary user.
func startUnprivileged(t *testing.T, folder, yaml string) *service {
	t.Helper()
	s := &service{Agent: harness.StartUnprivileged(t), t: t, folder: folder}
	s.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	s.spec = strings.ReplaceAll(yaml, "ADDRESS", "tcp://"+s.address)
	s.Apply(t, s.yaml("v1"))
	s.await(1, pb.Generation_STATE_ACTIVE)
	return s
}

func TestUnprivilegedSaysWhatFallsBack(t *testing.T) {
	a := harness.StartUnprivileged(t)
	out := a.CtlOK(t, "info")
	if !regexp.MustCompile(`(?m)^cgroup\S*\s+no\b.*process group and tree`).MatchString(out) {
		t.Errorf("nothing says what falls back without cgroups:\n%s", out)
	}
}

func TestUnprivilegedUpgrades(t *testing.T) {
	s := startUnprivileged(t, "runtime", signalDrain)
	l := s.load(200, 200, nil)
	answered(t, l, 100)
	for _, version := range []string{"v2", "v1", "v2"} {
		s.upgrade(s.push(version), 0)
		s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
		answered(t, l, 100)
	}
	s.CtlOK(t, "rollback", "web")
	answered(t, l, 100)
	unharmed(t, l)
	s.awaitAlone(awaitLimit)
}

// Connections are counted by the program's descriptors.
func TestUnprivilegedDrainCount(t *testing.T) {
	s := startUnprivileged(t, "raw", "sockets: [{name: http, listen: \"ADDRESS\"}]\nupgrade: {soak: 0s}\ndrain: {mode: patient}\n")
	lines := s.lines(t, 20)
	s.upgrade(s.push("v2"), 0)
	s.awaitLeft(1, 20)
	for _, c := range lines[:15] {
		c.Close()
	}
	s.awaitLeft(1, 5)
	for _, c := range lines[15:] {
		c.Close()
	}
	s.await(1, pb.Generation_STATE_STOPPED)
}

// lines are connections to the line server that were spoken on.
func (s *service) lines(t *testing.T, n int) []net.Conn {
	t.Helper()
	all := make([]net.Conn, n)
	for i := range all {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := fmt.Fprintln(c, "hello"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 256)); err != nil {
			t.Fatal(err)
		}
		all[i] = c
	}
	return all
}

// A program that ignores SIGTERM, and its child in a session of its own, which
// does so too, are killed by their place in the process tree.
func TestUnprivilegedKill(t *testing.T) {
	s := startUnprivileged(t, "runtime", signalDrain)
	s.CtlOK(t, "upgrade", "web", "--wait", "none", "-f", s.candidate(t, faulty{args: "-mode=stubborn", rest: "ready: {notify: {}}\n" + faultySoak}))
	up := s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
	family := s.family(t, up.GetToGeneration())
	s.CtlOK(t, "abort", "web")
	s.awaitAlone(awaitLimit)
	gone(t, family)
}

// The queue of a candidate that died is served without cgroups, too.
func TestUnprivilegedRescue(t *testing.T) {
	s := startUnprivileged(t, "runtime", signalDrain)
	candidate := s.canary(t)
	freeze(t, candidate.GetPid())
	all := s.clients(t, 40)
	kill(t, candidate.GetPid())
	if by := allAnswered(t, all); by["v1"] != len(all) {
		t.Errorf("answered by %v, want all by v1", by)
	}
}
