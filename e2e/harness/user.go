//go:build linux

package harness

import (
	"os"
	"syscall"
	"testing"
)

// nobody is a user without any privilege; it need not be in the user database.
const nobody = 65534

// StartUnprivileged is Start for an agent without privileges: it runs as an
// ordinary user, and so has no cgroups of its own.
func StartUnprivileged(t testing.TB, flags ...string) *Agent {
	t.Helper()
	if os.Geteuid() != 0 {
		return Start(t, flags...)
	}
	return start(t, &syscall.Credential{Uid: nobody, Gid: nobody}, flags)
}

// demote has the agent start as its user, to whom its directory and the socket
// that it reports to belong.
func (a *Agent) demote(t testing.TB, notify string) {
	t.Helper()
	if a.as == nil {
		return
	}
	for _, path := range []string{a.Dir, notify} {
		if err := os.Chown(path, int(a.as.Uid), int(a.as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.as}
}
