//go:build linux

package harness

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
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
	return start(t, Binary(t, "graced"), demoted, flags)
}

// StartUnprivilegedInMemory is both.
func StartUnprivilegedInMemory(t testing.TB, flags ...string) *Agent {
	t.Helper()
	if os.Geteuid() != 0 {
		return StartInMemory(t, flags...)
	}
	return inMemory(t, demoted, flags)
}

// demoted has its directories, and the socket that it reports to, belong to its user.
func demoted(t testing.TB, a *Agent, notify string) {
	t.Helper()
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	for _, path := range []string{a.Dir, a.RuntimeDir, notify} {
		if err := os.Chown(path, nobody, nobody); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

// StartInit is Start for an agent that is the first process of a container: pid 1
// of a namespace, to which processes that lost their parent fall. Pids in a status
// are those of the namespace.
func StartInit(t testing.TB, flags ...string) *Agent {
	t.Helper()
	return start(t, Binary(t, "graced"), contained, flags)
}

// contained has it see a /proc of its own namespace.
func contained(_ testing.TB, a *Agent, _ string) {
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	a.cmd.Args = append([]string{"sh", "-c", `mount -t proc proc /proc && exec "$0" "$@"`}, a.cmd.Args...)
	a.cmd.Path = "/bin/sh"
}

// StartInNetwork is Start for an agent, and so its services, in a named network
// namespace of the host.
func StartInNetwork(t testing.TB, namespace string, flags ...string) *Agent {
	t.Helper()
	there := func(_ testing.TB, a *Agent, _ string) { InNetwork(a.cmd, namespace) }
	return start(t, Binary(t, "graced"), there, flags)
}

// InNetwork has a command run in a network namespace, and leaves it all else: ip
// netns exec would hide the cgroups.
func InNetwork(cmd *exec.Cmd, namespace string) {
	cmd.Args = append([]string{"nsenter", "--net=/run/netns/" + namespace}, append([]string{cmd.Path}, cmd.Args[1:]...)...)
	cmd.Path = "/usr/bin/nsenter"
}
