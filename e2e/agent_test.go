//go:build linux

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// An agent that dies leaves a service alone, and the next one carries on: the
// same processes, in the same roles.
func TestAgentDies(t *testing.T) {
	for name, end := range map[string]func(*service){
		"killed":     func(s *service) { s.Kill9(s.t) },
		"terminated": func(s *service) { s.Terminate(s.t) },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, "runtime", signalDrain)
			digest := s.push("v2")
			before := pids(s.Status(t, "web"))
			l := s.load(rate(), rate(), nil)
			answered(t, l, 50)
			end(s)
			answered(t, l, 100)
			s.Restart(t)
			if after := pids(s.Status(t, "web")); after != before {
				t.Errorf("the new agent sees processes %v, they were %v", after, before)
			}
			s.upgrade(digest, 0)
			s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
			answered(t, l, 100)
			s.CtlOK(t, "rollback", "web")
			answered(t, l, 100)
			unharmed(t, l)
			s.awaitAlone(awaitLimit)
		})
	}
}

// pids are those of the active and the standby generation.
func pids(st *pb.ServiceStatus) (p [2]int32) {
	p[0] = harness.Active(st).GetPid()
	for _, g := range st.GetGenerations() {
		if g.GetState() == pb.Generation_STATE_STANDBY {
			p[1] = g.GetPid()
		}
	}
	return p
}

// An agent that dies during soak comes back to it: the way back is still instant.
func TestAgentDiesDuringSoak(t *testing.T) {
	s := start(t, "runtime", "sockets: [{name: http, listen: \"ADDRESS\"}]\nready: {notify: {}}\nupgrade: {soak: 1h}\ndrain: {mode: signal, timeout: 20s}\n")
	s.upgrade(s.push("v2"), 3600e9)
	s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
	before := pids(s.Status(t, "web"))
	l := s.load(rate(), rate(), nil)
	answered(t, l, 50)
	s.Kill9(t)
	answered(t, l, 100)
	s.Restart(t)
	s.awaitUpgrade(pb.Upgrade_STATE_SOAKING)
	if after := pids(s.Status(t, "web")); after != before || before[1] == 0 {
		t.Errorf("the new agent sees active and standby %v, they were %v", after, before)
	}
	s.CtlOK(t, "abort", "web")
	answered(t, l, 100)
	s.awaitAlone(awaitLimit)
	unharmed(t, l)
	if got := harness.Active(s.Status(t, "web")).GetPid(); got != before[1] {
		t.Errorf("process %d is active after the abort, want %d", got, before[1])
	}
}

// An agent that is away during a drain finishes it when it is back.
func TestAgentDiesDuringDrain(t *testing.T) {
	s := start(t, "plain", patientDrain)
	l := s.load(rate(), rate(), nil)
	answered(t, l, 100)
	s.upgrade(s.push("v2"), 0)
	s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
	s.await(1, pb.Generation_STATE_DRAINING)
	s.Kill9(t)
	answered(t, l, 100)
	s.Restart(t)
	s.await(1, pb.Generation_STATE_DRAINING)
	answered(t, l, 100)
	unharmed(t, l)
	s.awaitAlone(awaitLimit)
}

// The keeper that waits for the next upgrade does not outlive an agent that was
// killed: the next agent ends it.
func TestSpareOfADeadAgent(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain)
	active := s.keepers()
	for deadline := time.Now().Add(awaitLimit); len(s.keepers()) != 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("keepers %v, want another one that waits", s.keepers())
		}
	}
	spare := slices.DeleteFunc(s.keepers(), func(pid int) bool { return slices.Contains(active, pid) })
	s.Kill9(t)
	s.Restart(t)
	gone(t, spare)
	s.CtlOK(t, "upgrade", "web", harness.Program(t, "runtime", "v2"))
	s.CtlOK(t, "rollback", "web")
}

// keepers are the shims that hold this service's sockets, or wait to.
func (s *service) keepers() (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		line, _ := os.ReadFile(file)
		if pid, err := strconv.Atoi(strings.Split(file, "/")[2]); err == nil && bytes.Contains(line, []byte("run\x00"+s.Dir+"/")) {
			pids = append(pids, pid)
		}
	}
	return pids
}
