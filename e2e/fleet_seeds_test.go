//go:build linux

package e2e

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/e2e/harness"
)

const fetchesFromAgents = "fetch: {seeds: true}\n"

// bulky is a program of a version that takes a while on its way.
func bulky(t *testing.T, version string, more int) (path string, size int64) {
	t.Helper()
	program, err := os.ReadFile(harness.Program(t, "runtime", version))
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, more)
	_, _ = rand.Read(noise)
	path = filepath.Join(t.TempDir(), "web-"+version)
	if err := os.WriteFile(path, append(program, noise...), 0o755); err != nil {
		t.Fatal(err)
	}
	return path, int64(len(program) + more)
}

// served are the hosts that have served an artifact to another one.
func (f *fleet) served() (hosts []*harness.Host) {
	for _, h := range f.Hosts {
		if strings.Contains(h.Log(), "an artifact is served to an agent") {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// One copy leaves the driver, however many hosts there are.
func TestFleetSeeds(t *testing.T) {
	f := startFleet(t, 4, fetchesFromAgents)
	program, size := bulky(t, "v2", 20<<20)
	before, sent := f.Runs(), f.Here.Sent()
	r := f.Here.Try(f.upgradeTo(program, "--seeds", "1")...)
	sent = f.Here.Sent() - sent
	f.became(f.ended(r, 0, before, harness.Digest(t, program)), map[string]int{"upgraded": 4})
	if sent < size || sent > size*3/2 {
		t.Errorf("%d bytes left the driver for an artifact of %d: %v", sent, size, r.Stderr)
	}
	if len(f.served()) == 0 || strings.Contains(r.Stderr, "instead") {
		t.Errorf("nobody fetched from a host: %s", r.Stderr)
	}
	t.Logf("%d bytes left the driver for an artifact of %d on 4 hosts", sent, size)
}

// A seed that dies while others fetch from it costs a push, and no host.
func TestFleetSeedDies(t *testing.T) {
	f := startFleet(t, 3, fetchesFromAgents)
	program, _ := bulky(t, "v2", 150<<20)
	before := f.Runs()
	run := f.Here.Start(f.upgradeTo(program, "--seeds", "1")...)
	var seed *harness.Host
	eventually(t, "a host fetches from another one", func() bool {
		hosts := f.served()
		if len(hosts) > 0 {
			seed = hosts[0]
		}
		return seed != nil
	})
	seed.Kill9(t)
	seed.Restart(t)
	r := run.End()
	f.became(f.ended(r, 0, before, harness.Digest(t, program)), map[string]int{"upgraded": 3})
	if !strings.Contains(r.Stderr, "got the artifact from here instead") {
		t.Errorf("it was not killed in the middle: %s", r.Stderr)
	}
}

// Hosts that fetch from no agents get it from here.
func TestFleetSeedsAreNotAllowed(t *testing.T) {
	f := startFleet(t, 3)
	before := f.Runs()
	r := f.Here.Try(f.upgrade("v2", "--seeds", "1")...)
	f.became(f.ended(r, 0, before, f.digest("v2")), map[string]int{"upgraded": 3})
	if len(f.served()) > 0 || !strings.Contains(r.Stderr, "2 hosts got the artifact from here instead") || !strings.Contains(r.Stderr, "fetch: {seeds: true}") {
		t.Errorf("served by %v: %s", f.served(), r.Stderr)
	}
}
