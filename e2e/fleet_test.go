//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/gracefleet/gracefleet/e2e/harness"
)

// quick is a service whose upgrades take no longer than they must. Hosts may refuse
// versions of it. Its connections may be idle for long while it drains: where the
// machine is busy, requests on them come late.
const quick = "ready: {notify: {}}\nargs: [-refuse, DIR/refused, -lame-duck, 5s, -drain-timeout, 20s]\nupgrade: {soak: 200ms}\ndrain: {mode: signal}\n"

// fleet is hosts with a service that users ask all the time. No rollout may lose one
// of their requests, whatever happens to it.
type fleet struct {
	*harness.Fleet
	t testing.TB
}

// startFleet starts hosts that run v1.
func startFleet(t testing.TB, hosts int, config ...string) *fleet {
	t.Helper()
	f := &fleet{Fleet: harness.StartFleet(t, hosts, "v1", quick, config...), t: t}
	users := f.Clients()
	t.Cleanup(func() { users.End() })
	return f
}

// upgrade are the arguments of a rollout to all hosts.
func (f *fleet) upgrade(version string, flags ...string) []string {
	f.t.Helper()
	return f.upgradeTo(harness.Program(f.t, "runtime", version), flags...)
}

func (f *fleet) upgradeTo(program string, flags ...string) []string {
	return append([]string{"upgrade", "web", program, "--hosts", "role=web", "-o", "json"}, flags...)
}

// digest of a version.
func (f *fleet) digest(version string) string {
	f.t.Helper()
	return harness.Digest(f.t, harness.Program(f.t, "runtime", version))
}

// mixed has every other host run v3 already, so that their predecessors differ.
func (f *fleet) mixed() {
	f.t.Helper()
	program := harness.Program(f.t, "runtime", "v3")
	for i := 0; i < len(f.Hosts); i += 2 {
		f.Hosts[i].CtlOK(f.t, "upgrade", "web", program)
	}
}

// refuse has a version fail on one host.
func (f *fleet) refuse(host, version string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.Host(host).Dir, "refused"), []byte(version), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// ended fails the test unless a rollout's command ended with this exit code, and every
// host is as it says.
func (f *fleet) ended(r harness.Result, code int, before map[string]string, artifact string) harness.Report {
	f.t.Helper()
	if r.Code != code {
		f.t.Fatalf("want exit code %d: %v", code, r)
	}
	report := r.Report(f.t)
	f.Settled(report, before, artifact)
	return report
}

// became fails the test unless so many hosts became what is said, and no other
// anything else.
func (f *fleet) became(report harness.Report, want map[string]int) {
	f.t.Helper()
	total := 0
	for outcome, n := range want {
		total += n
		if got := report.Count(outcome); got != n {
			f.t.Errorf("%d hosts are %s, want %d: %v", got, outcome, n, report.Hosts)
		}
	}
	if total != len(f.Hosts) {
		f.t.Errorf("the test says what becomes of %d hosts, of %d", total, len(f.Hosts))
	}
}

// generations is the newest one of each host.
func (f *fleet) generations() map[string]int32 {
	f.t.Helper()
	newest := map[string]int32{}
	for _, h := range f.Hosts {
		for _, g := range h.Status(f.t, "web").GetGenerations() {
			newest[h.Name] = max(newest[h.Name], g.GetNumber())
		}
	}
	return newest
}

// hostOf is the host that a line of a rollout is about.
func (f *fleet) hostOf(line string) string {
	f.t.Helper()
	var said struct{ Host string }
	if err := json.Unmarshal([]byte(line), &said); err != nil || said.Host == "" {
		f.t.Fatalf("no host in %s (%v)", line, err)
	}
	return said.Host
}

// inWave is a host of a wave that a command would have; the canary is wave 1.
func (f *fleet) inWave(wave int, command []string) string {
	f.t.Helper()
	r := f.Here.Try(append(command, "--dry-run")...)
	var plan struct {
		Hosts []struct {
			Host string
			Wave int
		}
	}
	if err := json.Unmarshal([]byte(r.Stdout), &plan); err != nil || r.Code != 3 {
		f.t.Fatalf("no plan (%v): %v", err, r)
	}
	for _, h := range plan.Hosts {
		if h.Wave == wave {
			return h.Host
		}
	}
	f.t.Fatalf("no host is in wave %d: %v", wave, r)
	return ""
}
