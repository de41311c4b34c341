package preflight

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Enter has a command run in a room of its own: what listens or is mounted there is
// not seen outside, and all of it ends with the command, which is PID 1 in it. Without root the room takes a user namespace.
func Enter(cmd *exec.Cmd) error {
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	return nil
}

// covered are directories in which programs keep pid files, locks and data: what
// is written there during a trial stays in the room.
var covered = []string{"/run", "/var/lib", "/var/log", "/var/cache", "/var/tmp", "/var/spool"}

// Furnish makes the room that this process was started in fit for a trial: its own
// /proc, a network with these addresses, and covers over the directories that
// programs write to. It returns what could not be covered. Both directories are empty:
// dir holds the covers, and memory, where the agent of the trial keeps secrets, is a
// tmpfs afterwards.
func Furnish(dir, memory string, addresses []string) (uncovered []string, err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return nil, fmt.Errorf("mount /proc: %w", err)
	}
	for _, d := range []string{dir, memory} {
		if err := unix.Mount("room", d, "tmpfs", 0, "mode=755"); err != nil {
			return nil, fmt.Errorf("mount a tmpfs: %w", err)
		}
	}
	for i, target := range covered {
		if resolved, err := filepath.EvalSymlinks(target); err != nil || resolved != target {
			continue // not there, or covered under its own name
		}
		if err := cover(target, filepath.Join(dir, fmt.Sprint(i))); err != nil {
			uncovered = append(uncovered, target)
		}
	}
	return uncovered, network(addresses)
}

func cover(target, layers string) error {
	upper, work := filepath.Join(layers, "upper"), filepath.Join(layers, "work")
	if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
		return err
	}
	// The program's user must find the directory as it is outside.
	if info, err := os.Stat(target); err == nil {
		_ = os.Chmod(upper, info.Mode().Perm())
	}
	return unix.Mount("overlay", target, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", target, upper, work))
}

// network brings loopback up and gives it every address that the service declares.
func network(addresses []string) error {
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("bring the room's network up: %w", err)
	}
	for _, a := range addresses {
		ip, err := netip.ParseAddr(a)
		if err != nil || ip.IsLoopback() || ip.IsUnspecified() {
			continue
		}
		out, err := exec.Command("ip", "address", "add", netip.PrefixFrom(ip, ip.BitLen()).String(), "dev", "lo").CombinedOutput()
		if err != nil {
			return fmt.Errorf("give the room the address %s: %w: %s", ip, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
