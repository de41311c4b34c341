//go:build linux

package box

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// unit writes files that make a service of name, whose program is a shell
// script, and installs both.
func (b *Box) unit(name, script string) {
	b.t.Helper()
	dir := b.t.TempDir()
	write(b.t, filepath.Join(dir, "program"), "#!/bin/sh\n"+script, 0o755)
	write(b.t, filepath.Join(dir, "unit"), "[Service]\nExecStart=/opt/box/"+name+"\n", 0o644)
	b.Install(filepath.Join(dir, "program"), "/opt/box/"+name)
	b.Install(filepath.Join(dir, "unit"), "/etc/systemd/system/"+name+".service")
	b.must("systemctl", "daemon-reload")
}

// must runs a program in the box that must succeed.
func (b *Box) must(args ...string) string {
	b.t.Helper()
	out, err := b.Exec(b.t.Context(), args...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

func write(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestUnitRunsAndItsJournalIsReadable(t *testing.T) {
	b := Up(t)
	b.unit("hello", "echo hello from $(cat /proc/sys/kernel/hostname)\nexec sleep infinity\n")
	b.must("systemctl", "start", "hello.service")

	if got := b.must("systemctl", "is-active", "hello.service"); got != "active\n" {
		t.Errorf("hello.service is %q", got)
	}
	// That it was started says nothing of what it has written by now.
	b.must("timeout", "20", "bash", "-c", "until journalctl -u hello.service -o cat | grep -q 'hello from "+b.name+"'; do sleep 0.05; done")
	if got := b.must("cat", "/sys/class/net/lo/carrier"); got != "1\n" {
		t.Errorf("loopback is down: %q", got)
	}
}

func TestInstallReplacesARunningProgram(t *testing.T) {
	b := Up(t)
	sleep, err := filepath.EvalSymlinks("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	b.Install(sleep, "/opt/box/sleep")
	b.must("systemd-run", "--unit=sleeper", "/opt/box/sleep", "infinity")
	b.Install(sleep, "/opt/box/sleep")
	if got := b.must("systemctl", "is-active", "sleeper"); got != "active\n" {
		t.Errorf("sleeper is %q", got)
	}
	if _, err := os.Stat("/opt/box/sleep"); !os.IsNotExist(err) {
		t.Errorf("the host sees a file installed in the box: %v", err)
	}
}

func TestInstallStaysInTheBox(t *testing.T) {
	b := Up(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "from the box", 0o600)
	b.must("ln", "-s", dir, "/opt/out")
	if err := b.install(filepath.Join(dir, "file"), "opt/out/escaped"); err == nil {
		t.Error("a symbolic link led an installed file out of the box")
	}
	if _, err := os.Stat(filepath.Join(dir, "escaped")); !os.IsNotExist(err) {
		t.Errorf("the host has the file: %v", err)
	}
}

func TestExecTellsWhatAProgramSaidWhenItFailed(t *testing.T) {
	b := Up(t)
	out, err := b.Exec(t.Context(), "sh", "-c", "echo some; echo reason >&2; exit 3")
	if err == nil || !strings.Contains(err.Error(), "reason") || out != "some\n" {
		t.Errorf("out %q, err %v", out, err)
	}
}

func TestExecEndsWithItsContext(t *testing.T) {
	b := Up(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := b.Exec(ctx, "sleep", "4711"); err == nil {
		t.Fatal("sleep ended by itself")
	}
	if got := b.must("ps", "-e", "-o", "args"); strings.Contains(got, "sleep 4711") || !strings.Contains(got, "systemd") {
		t.Errorf("sleep was left behind:\n%s", got)
	}
}

func TestPathReachesIntoTheBox(t *testing.T) {
	b := Up(t)
	got, err := os.ReadFile(b.Path("/etc/hostname"))
	if err != nil || string(got) != b.name+"\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTwoBoxesAtOnce(t *testing.T) {
	for i := range 2 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			b := Up(t)
			b.unit("same", "exec sleep infinity\n")
			b.must("systemctl", "start", "same.service")
		})
	}
}

func TestDownLeavesNothingBehind(t *testing.T) {
	b := Up(t)
	// Deaf to SIGTERM, with a child in a session of its own: the worst to stop.
	b.unit("deaf", "trap '' TERM\nsetsid sleep infinity &\nwhile :; do sleep 1; done\n")
	b.must("mkdir", "-p", "/etc/systemd/system/deaf.service.d")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "stop.conf"), "[Service]\nTimeoutStopSec=1s\n", 0o644)
	b.Install(filepath.Join(dir, "stop.conf"), "/etc/systemd/system/deaf.service.d/stop.conf")
	b.must("systemctl", "daemon-reload")
	b.must("systemctl", "start", "deaf.service")
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", b.init.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if processesIn(t, namespace) < 3 {
		t.Fatal("the box has too few processes for this test to mean anything")
	}

	b.Down()

	if n := processesIn(t, namespace); n != 0 {
		t.Errorf("%d processes outlived the box", n)
	}
	leavesNothing(t, b)
}

func TestDeadBoxLeavesNothingBehind(t *testing.T) {
	b := Up(t)
	if err := b.init.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-b.gone
	b.Down()
	leavesNothing(t, b)
}

func leavesNothing(t *testing.T, b *Box) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, filepath.Base(t.Name())) || strings.Contains(line, " box ") {
			t.Errorf("mount left behind: %s", line)
		}
	}
	if _, err := os.Stat(b.cgroup); !os.IsNotExist(err) {
		t.Errorf("cgroup left behind: %v", err)
	}
}

// processesIn counts the processes of a pid namespace.
func processesIn(t *testing.T, namespace string) (n int) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if got, err := os.Readlink(link); err == nil && got == namespace {
			n++
		}
	}
	return n
}
