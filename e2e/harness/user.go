//go:build linux

package harness

import (
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
	return start(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}, "", flags)
}

// StartInit is Start for an agent that is the first process of a container: pid 1
// of a namespace, to which processes that lost their parent fall. Pids in a status
// are those of the namespace.
func StartInit(t testing.TB, flags ...string) *Agent {
	t.Helper()
	return start(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}, "", flags)
}

// StartInNetwork is Start for an agent, and so its services, in a named network
// namespace of the host.
func StartInNetwork(t testing.TB, namespace string, flags ...string) *Agent {
	t.Helper()
	return start(t, nil, namespace, flags)
}

// InNetwork has a command run in a network namespace, and leaves it all else: ip
// netns exec would hide the cgroups.
func InNetwork(cmd *exec.Cmd, namespace string) {
	cmd.Args = append([]string{"nsenter", "--net=/run/netns/" + namespace}, append([]string{cmd.Path}, cmd.Args[1:]...)...)
	cmd.Path = "/usr/bin/nsenter"
}

// settle has the agent start as its user, to whom its directory and the socket
// that it reports to belong, or with a /proc of its own namespace.
func (a *Agent) settle(t testing.TB, notify string) {
	t.Helper()
	if a.network != "" {
		InNetwork(a.cmd, a.network)
	}
	if a.as == nil {
		return
	}
	a.cmd.SysProcAttr = a.as
	if a.as.Cloneflags != 0 {
		a.cmd.Args = append([]string{"sh", "-c", `mount -t proc proc /proc && exec "$0" "$@"`}, a.cmd.Args...)
		a.cmd.Path = "/bin/sh"
		return
	}
	for _, path := range []string{a.Dir, notify} {
		if err := os.Chown(path, int(a.as.Credential.Uid), int(a.as.Credential.Gid)); err != nil {
			t.Fatal(err)
		}
	}
}
