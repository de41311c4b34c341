//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/e2e/harness"
)

// What a client may take of the machine it runs on.
const (
	rolloutHosts  = 1000
	rolloutMemory = 150 << 20
	rolloutCPU    = 5 * time.Second
	sweepHosts    = 10_000
	sweepMemory   = 256 << 20
)

// tenWaves is a rollout to all hosts, after a canary.
var tenWaves = []string{"--all", "--canary", "1", "--waves", "10%,20%,30%,40%,50%,60%,70%,80%,90%,100%", "-o", "json"}

// simulation is a simulator, and an operator of its hosts.
type simulation struct {
	*harness.Simulator
	t testing.TB
}

func simulate(t testing.TB, hosts int, flags ...string) *simulation {
	t.Helper()
	return &simulation{harness.StartSimulator(t, hosts, flags...), t}
}

// ctl runs a gracectl that has to end with this exit code.
func (s *simulation) ctl(code int, args ...string) (harness.Result, harness.Cost) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), scaleLimit)
	defer cancel()
	r, cost := harness.Measured(s.Command(ctx, args...))
	if r.Code != code {
		s.t.Fatalf("want exit code %d: gracectl %v: %d\n%s%s", code, args, r.Code, tail(r.Stdout), tail(r.Stderr))
	}
	return r, cost
}

// scaleLimit ends a command of a test that has failed.
const scaleLimit = 10 * time.Minute

// tail is the end of what thousands of hosts had said of them.
func tail(text string) string { return text[max(0, len(text)-4<<10):] }

// artifact is one that all hosts have: what one gets, it gets for all.
func (s *simulation) artifact(version string) (digest string) {
	s.t.Helper()
	program := filepath.Join(s.t.TempDir(), version)
	if err := os.WriteFile(program, []byte("#!/bin/sh\n# "+version+"\n"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	r, _ := s.ctl(0, "push", program, "--version", version, "--hosts", "web-00001")
	return strings.TrimSpace(r.Stdout)
}

// runs counts the hosts by the version that they serve.
func (s *simulation) runs() map[string]int {
	s.t.Helper()
	r, _ := s.ctl(0, "hosts", "-o", "json")
	var list struct {
		Hosts []struct {
			Host     string
			Services []struct{ Version string }
		}
	}
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil {
		s.t.Fatal(err)
	}
	count := map[string]int{}
	for _, h := range list.Hosts {
		for _, service := range h.Services {
			count[service.Version]++
		}
	}
	return count
}

// within fails the test if a command took more than it may. Times are those of a
// processor, not of a clock; a run that only has to work is not held to them.
func (s *simulation) within(what string, cost harness.Cost, memory int64, cpu time.Duration) {
	s.t.Helper()
	s.t.Logf("%s: %v; the simulator: %d MB", what, cost, s.Memory()>>20)
	if !full {
		return
	}
	if cost.Memory > memory {
		s.t.Errorf("%s took %d MB, of %d", what, cost.Memory>>20, memory>>20)
	}
	if cpu > 0 && cost.CPU > cpu {
		s.t.Errorf("%s took %v of CPU time, of %v", what, cost.CPU, cpu)
	}
}

// A canary and ten waves over more hosts than anybody looks at one by one.
func TestScaleOfARollout(t *testing.T) {
	hosts := 100
	if full {
		hosts = rolloutHosts
	}
	s := simulate(t, hosts, "-soak", "500ms", "-drain", "500ms")
	digest := s.artifact("v2")
	r, cost := s.ctl(0, append([]string{"upgrade", "web", digest}, tenWaves...)...)
	if report := r.Report(t); report.Count("upgraded") != hosts || len(report.Hosts) != hosts {
		t.Errorf("of %d hosts %d are upgraded, and %d in the report", hosts, report.Count("upgraded"), len(report.Hosts))
	}
	if runs := s.runs(); runs["v2"] != hosts {
		t.Errorf("versions are served by %v hosts", runs)
	}
	s.within("a rollout over all hosts in 11 waves", cost, rolloutMemory, rolloutCPU)
}

// One host of many on which the release does not run takes it back from all.
func TestScaleOfARollback(t *testing.T) {
	hosts, bad := 100, "web-00042"
	if full {
		hosts = rolloutHosts
	}
	s := simulate(t, hosts, "-soak", "500ms", "-drain", "500ms", "-fail", bad)
	digest := s.artifact("v2")
	r, cost := s.ctl(4, append([]string{"upgrade", "web", digest}, tenWaves...)...)
	report := r.Report(t)
	back, never := report.Count("rolled-back"), report.Count("not-started")
	if report.Hosts[bad] != "failed" || back+never+1 != hosts || len(report.Hosts) != hosts {
		t.Errorf("%s is %s; of %d hosts %d are in the report, %d rolled back, %d not started", bad, report.Hosts[bad], hosts, len(report.Hosts), back, never)
	}
	if runs := s.runs(); runs["v1"] != hosts {
		t.Errorf("versions are served by %v hosts", runs)
	}
	s.within("a rollout that was taken back", cost, rolloutMemory, 0)
}

// All hosts are asked, and each is told of.
func TestScaleOfASweep(t *testing.T) {
	hosts := 100
	if full {
		hosts = sweepHosts
	}
	s := simulate(t, hosts)
	for _, args := range [][]string{{"status", "--all"}, {"hosts"}, {"status", "--all", "-o", "json"}} {
		r, cost := s.ctl(0, args...)
		if n := strings.Count(r.Stdout, "web-"); n != hosts {
			t.Errorf("gracectl %v tells of %d hosts, of %d", args, n, hosts)
		}
		s.within("gracectl "+strings.Join(args, " "), cost, sweepMemory, 0)
	}
	r, _ := s.ctl(0, "status", "--hosts", "zone=c", "-o", "json")
	if n := strings.Count(r.Stdout, `"host": `); n != hosts/10 {
		t.Errorf("zone c has %d hosts, of %d", n, hosts/10)
	}
}

// BenchmarkRealAgents pretends nothing: so many agents, each on a network of its own
// with a service that users ask all the time.
//
//	go test -run '^$' -bench RealAgents -benchtime 1x ./e2e
func BenchmarkRealAgents(t *testing.B) {
	// A hundred hosts on few processors answer late. Late is not lost: users wait, and
	// the library's own limits hold, not the short ones of other tests.
	const hosts, rate, patience = 100, 2, time.Minute
	const unhurried = "ready: {notify: {}, timeout: 2m}\nupgrade: {soak: 1s}\ndrain: {mode: signal, timeout: 2m}\n"
	f := &fleet{Fleet: harness.StartFleet(t, hosts, "v1", unhurried), t: t}
	users := f.ClientsAt(rate, patience)
	before, command := f.Runs(), f.upgrade("v2", "--canary", "1", "--waves", "10%,50%,100%", "--max-in-flight", "10")
	r, cost := harness.Measured(f.Here.Command(t.Context(), command...))
	f.became(f.ended(r, 0, before, f.digest("v2")), map[string]int{"upgraded": hosts})
	var answered int64
	for _, seen := range users.End() {
		answered += seen.Answered()
	}
	memory := 0
	for _, h := range f.Hosts {
		memory += h.Memory()
	}
	t.Logf("a rollout over %d agents: %v; %d requests answered meanwhile, 0 lost; an agent: %d MB", hosts, cost, answered, memory/hosts>>20)
}
