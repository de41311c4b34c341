//go:build linux

package box

import (
	"os"
	"os/exec"
	"testing"
)

// systemd is where both merged and split file systems have it.
const systemd = "/lib/systemd/systemd"

// needHost skips the test on a host that cannot hold a box.
func needHost(t testing.TB) {
	t.Helper()
	need(t, os.Geteuid() == 0, "only root can boot a box")
	need(t, cgroupRoot() != "", "no cgroup v2 hierarchy is mounted")
	_, err := os.Stat(systemd)
	need(t, err == nil, "systemd is not installed")
	for _, program := range []string{"mount", "pivot_root", "nsenter"} {
		_, err := exec.LookPath(program)
		need(t, err == nil, program+" (of util-linux) is not installed")
	}
}

// need skips a test that the host cannot run; where everything must run it
// fails instead.
func need(t testing.TB, cond bool, reason string) {
	t.Helper()
	if cond {
		return
	}
	if os.Getenv("GRACEFLEET_NO_SKIP") == "1" {
		t.Fatal("must not be skipped: " + reason)
	}
	t.Skip(reason)
}
