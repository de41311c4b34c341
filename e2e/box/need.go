//go:build linux

package box

import (
	"os"
	"os/exec"
	"testing"

	"github.com/gracefleet/gracefleet/internal/needs"
)

// systemd is where both merged and split file systems have it.
const systemd = "/lib/systemd/systemd"

// needHost skips the test on a host that cannot hold a box.
func needHost(t testing.TB) {
	t.Helper()
	needs.That(t, os.Geteuid() == 0, "only root can boot a box")
	needs.That(t, cgroupRoot() != "", "no cgroup v2 hierarchy is mounted")
	_, err := os.Stat(systemd)
	needs.That(t, err == nil, "systemd is not installed")
	for _, program := range []string{"mount", "pivot_root", "nsenter"} {
		_, err := exec.LookPath(program)
		needs.That(t, err == nil, program+" (of util-linux) is not installed")
	}
}
