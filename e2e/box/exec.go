//go:build linux

package box

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Command is a program that will run in the box, in no unit, with a small fixed
// environment. When ctx ends the program is killed; what it started is not.
func (b *Box) Command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{
		"-t", strconv.Itoa(b.init.Pid), "-a", "--",
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb",
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Cancel = func() error { return killChild(cmd.Process) }
	cmd.WaitDelay = time.Second
	return cmd
}

// killChild kills the program that nsenter forked inside the pid namespace, and
// leaves nsenter alive to reap it: as an orphan it would fall to the host's
// init, and until that reaps it systemd waits for it when powering off.
func killChild(nsenter *os.Process) error {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", nsenter.Pid))
	if err != nil {
		return nsenter.Kill()
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil {
		return nsenter.Kill() // not forked yet
	}
	return syscall.Kill(child, syscall.SIGKILL)
}

// Exec runs a program in the box and returns what it wrote on standard output.
// The error of a program that failed carries its standard error.
func (b *Box) Exec(ctx context.Context, args ...string) (string, error) {
	out, err := b.Command(ctx, args...).Output()
	if err == nil {
		return string(out), nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), fmt.Errorf("%s in box %s: %w: %s", strings.Join(args, " "), b.name, err, exit.Stderr)
	}
	return string(out), fmt.Errorf("%s in box %s: %w", strings.Join(args, " "), b.name, err)
}

// Path is where the host sees a path of the box, to reach a socket or to read a
// file. Absolute symbolic links in it lead to the host's files: see Install for
// writing.
func (b *Box) Path(inside string) string {
	return filepath.Join("/proc", strconv.Itoa(b.init.Pid), "root", inside)
}

// Install copies the host's file src to dst in the box, with its permissions,
// making directories as needed. A program that runs from dst goes on with the
// old file. It fails the test when it cannot.
func (b *Box) Install(src, dst string) {
	b.t.Helper()
	if err := b.install(src, strings.TrimPrefix(dst, "/")); err != nil {
		b.t.Fatalf("installing %s as %s in box %s: %v", src, dst, b.name, err)
	}
}

func (b *Box) install(src, dst string) error {
	info, err := os.Stat(src)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	// A root refuses symbolic links that lead out of the box.
	root, err := os.OpenRoot(b.Path("/"))
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return err
	}
	tmp := dst + ".new"
	if err := root.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	if err := root.Chmod(tmp, info.Mode().Perm()); err != nil {
		return err
	}
	return root.Rename(tmp, dst)
}
