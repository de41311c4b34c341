//go:build linux

package box

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

//go:embed boot.sh
var bootScript string

const (
	// bootTime is ample: a box is up in less than a second on an idle host.
	bootTime = time.Minute
	// offTime is for units that stop slowly; then the box is killed.
	offTime = time.Minute
	// powerOff is SIGRTMIN+4, on which systemd starts poweroff.target, that is,
	// stops every unit first; see systemd(1). The C library keeps the first two
	// real-time signals for itself.
	powerOff = syscall.Signal(34 + 4)
)

var boxes atomic.Int64

// Box is a running systemd. Its methods may be called by several goroutines.
type Box struct {
	t      testing.TB
	name   string
	cgroup string
	init   *os.Process // PID 1 of the box

	console bytes.Buffer  // what PID 1 printed: read it after gone
	gone    chan struct{} // closed when PID 1 and so all of the box has ended
	down    sync.Once
}

// Up boots a box and returns when every unit it starts is up. The end of the
// test powers it off. A host that cannot hold a box skips the test.
func Up(t testing.TB) *Box {
	t.Helper()
	needHost(t)
	b := &Box{
		t:    t,
		name: fmt.Sprintf("box-%d-%d", os.Getpid(), boxes.Add(1)),
		gone: make(chan struct{}),
	}
	b.cgroup = filepath.Join(cgroupRoot(), "gracefleet-"+b.name)
	if err := b.boot(t.TempDir()); err != nil {
		t.Fatalf("booting box %s: %v", b.name, err)
	}
	return b
}

func (b *Box) boot(dir string) error {
	root := filepath.Join(dir, "box")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer notify.Close()
	if err := os.Mkdir(b.cgroup, 0o755); err != nil {
		return err
	}
	b.t.Cleanup(b.Down)
	if err := b.start(root, path); err != nil {
		return err
	}
	if err := b.waitReady(notify); err != nil {
		return err
	}
	return b.checkRunning()
}

// start runs the boot script as PID 1 of new namespaces.
func (b *Box) start(root, notify string) error {
	group, err := os.Open(b.cgroup)
	if err != nil {
		return err
	}
	defer group.Close()
	cmd := exec.Command("/bin/sh", "-c", bootScript, "boot.sh", root, b.name, notify)
	cmd.Stdout, cmd.Stderr = &b.console, &b.console
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWPID,
		// The cgroup namespace is rooted where its creator is: so the process
		// is cloned into the cgroup first, and leaves the rest of the host after.
		UseCgroupFD:  true,
		CgroupFD:     int(group.Fd()),
		Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET | syscall.CLONE_NEWCGROUP,
	}
	started := make(chan error)
	go func() {
		// Pdeathsig is sent at the end of the thread that started the child:
		// keep that thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // PID 1 powers off by a signal to itself: no news
		close(b.gone)
	}()
	if err := <-started; err != nil {
		close(b.gone)
		return err
	}
	b.init = cmd.Process
	return nil
}

// waitReady returns when systemd has said that it finished starting up.
func (b *Box) waitReady(notify *net.UnixConn) error {
	if err := notify.SetReadDeadline(time.Now().Add(bootTime)); err != nil {
		return err
	}
	watched := make(chan struct{})
	defer close(watched)
	go func() {
		select {
		case <-b.gone:
			notify.Close() // nobody is left to say anything
		case <-watched:
		}
	}()
	buf := make([]byte, 4096)
	for {
		n, err := notify.Read(buf)
		if err != nil {
			b.kill()
			return fmt.Errorf("systemd did not come up: %w; it printed:\n%s", err, b.console.Bytes())
		}
		if strings.Contains("\n"+string(buf[:n]), "\nREADY=1") {
			return nil
		}
	}
}

// checkRunning names the units that failed to start.
func (b *Box) checkRunning() error {
	ctx, cancel := context.WithTimeout(context.Background(), bootTime)
	defer cancel()
	state, err := b.Exec(ctx, "systemctl", "is-system-running")
	if err == nil {
		return nil
	}
	failed, failedErr := b.Exec(ctx, "systemctl", "--failed", "--no-legend", "--plain")
	return errors.Join(fmt.Errorf("the box is %s, failed units:\n%s", strings.TrimSpace(state), failed), failedErr)
}

// Down powers the box off and waits until all of it is gone. Only the first
// call does anything; the end of the test calls it too.
func (b *Box) Down() {
	b.t.Helper()
	b.down.Do(func() {
		if b.init != nil {
			b.powerOff()
		}
		if err := removeCgroup(b.cgroup); err != nil {
			b.t.Errorf("box %s: removing its cgroup: %v", b.name, err)
		}
	})
}

func (b *Box) powerOff() {
	timeout := time.NewTimer(offTime)
	defer timeout.Stop()
	if err := b.init.Signal(powerOff); err != nil && !errors.Is(err, os.ErrProcessDone) {
		b.t.Errorf("box %s: powering off: %v", b.name, err)
	}
	select {
	case <-b.gone:
	case <-timeout.C:
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		left, err := b.Exec(ctx, "ps", "-eo", "pid,ppid,stat,wchan:20,etime,args")
		b.t.Errorf("box %s did not power off within %v: killed; it still had (%v)\n%s", b.name, offTime, err, left)
		b.kill()
	}
}

// kill ends the box at once: the kernel kills a pid namespace with its PID 1.
func (b *Box) kill() {
	_ = b.init.Kill() // fails only when it has ended
	<-b.gone
}
