package shim

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/cgroup"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/needs"
)

func TestSignalOncePerOperation(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	ctx := testContext(t)
	start(t, c, program(in, 1, "count"))
	await(t, c, EventReady)
	send := func(op string) error {
		return c.Signal(ctx, SignalRequest{Op: op, Instance: 1, Signal: int(syscall.SIGUSR1)})
	}
	for _, op := range []string{"a", "a", "a"} {
		if err := send(op); err != nil {
			t.Fatal(err)
		}
	}
	if e := await(t, c, EventStatus); e.Text != "1" {
		t.Errorf("the program counted %s signals, want 1", e.Text)
	}
	if err := send("b"); err != nil {
		t.Fatal(err)
	}
	// A repeated "a" that had been sent would have been counted before this one.
	if e := await(t, c, EventStatus); e.Text != "2" {
		t.Errorf("the program counted %s signals, want 2", e.Text)
	}
	if err := c.Signal(ctx, SignalRequest{Op: "c", Instance: 2, Signal: 10}); !errors.Is(err, ErrStale) {
		t.Errorf("another instance: got %v, want ErrStale", err)
	}
	if err := c.Signal(ctx, SignalRequest{Op: "d", Instance: 1, Signal: 9, Stop: true}); err != nil {
		t.Fatal(err)
	}
	await(t, c, EventExited)
	if err := send("e"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a dead program: got %v, want ErrNotRunning", err)
	}
}

func TestKillTree(t *testing.T) {
	for _, withCgroup := range []bool{false, true} {
		t.Run(map[bool]string{false: "fallback", true: "cgroup"}[withCgroup], func(t *testing.T) {
			in := testIntent(t)
			pidfile := filepath.Join(filepath.Dir(in.Directory), "pid")
			p := program(in, 1, "tree", pidfile)
			if withCgroup {
				slot, gen := testCgroups(t)
				in.SlotCgroup, p.Cgroup = string(slot), string(gen)
			}
			c := spawnTest(t, in)
			i := start(t, c, p)
			await(t, c, EventReady)
			b, err := os.ReadFile(pidfile)
			if err != nil {
				t.Fatal(err)
			}
			pid, _ := strconv.Atoi(string(b))
			grandchild, err := Identify(pid)
			if err != nil {
				t.Fatal(err)
			}
			if withCgroup {
				inCgroup(t, c.Hello().State.PID, in.SlotCgroup)
				inCgroup(t, i.Process.PID, p.Cgroup)
				inCgroup(t, pid, p.Cgroup)
			}
			if err := c.Kill(testContext(t), "k"); err != nil {
				t.Fatal(err)
			}
			if e := await(t, c, EventExited); e.Exit.Signal != 9 {
				t.Errorf("exit %+v, want signal 9", e.Exit)
			}
			await(t, c, EventEmpty)
			if grandchild.Same() {
				t.Error("the grandchild lives")
			}
			shim, err := Identify(c.Hello().State.PID)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Dismiss(testContext(t), false); err != nil {
				t.Error(err)
			}
			gone(t, shim)
		})
	}
}

func testCgroups(t *testing.T) (slot, gen cgroup.Dir) {
	t.Helper()
	tree, err := cgroup.Open("shimtest-" + strconv.Itoa(os.Getpid()))
	needs.That(t, err == nil, "no cgroups here")
	t.Cleanup(func() {
		if strings.Contains(string(tree.Base()), "gracefleet-shimtest") {
			tree.Base().Remove()
		}
	})
	if slot, err = tree.Slot("web", 1); err != nil {
		t.Fatal(err)
	}
	if gen, err = tree.Generation("web", 7); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, d := range []cgroup.Dir{slot, gen} {
			if err := d.Await(testContext(t)); err != nil {
				t.Error(err)
			}
			if err := d.Remove(); err != nil {
				t.Error(err)
			}
		}
	})
	return slot, gen
}

func inCgroup(t *testing.T, pid int, dir string) {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	if _, own, ok := bytes.Cut(b, []byte("0::")); !ok || !strings.HasSuffix(dir, strings.TrimSpace(string(own))) {
		t.Errorf("process %d is in %q, want %s", pid, own, dir)
	}
}

func TestOrphanIsReapedAndKeepsTheSlotBusy(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	start(t, c, shell(in, 1, "sleep 60 & exit 0"))
	await(t, c, EventExited)
	if s := state(t, c); s.Empty {
		t.Error("empty while a child of the program lives")
	}
	if err := c.Dismiss(testContext(t), false); !errors.Is(err, ErrAlive) {
		t.Errorf("dismiss over an orphan: got %v, want ErrAlive", err)
	}
	if err := c.Kill(testContext(t), "k"); err != nil {
		t.Fatal(err)
	}
	await(t, c, EventEmpty)
}

func TestSignalsOfTheProgramAreFacts(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	start(t, c, program(in, 1, "parent"))
	want := map[int]bool{1: true, 2: true, 3: true, 10: true, 12: true, 15: true}
	for len(want) > 0 {
		delete(want, await(t, c, EventSignal).Signal)
	}
	if s := state(t, c); len(s.Current.Signals) != 6 || !s.Current.Alive() {
		t.Errorf("signals %+v, want 6, program alive", s.Current.Signals)
	}
}

func TestReadyOfAnotherProcessIsIgnored(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	i := start(t, c, program(in, 1, "grandchild"))
	e := await(t, c, EventReadyIgnored)
	if e.PID == i.Process.PID || e.PID == 0 {
		t.Errorf("ready of process %d, the main one is %d", e.PID, i.Process.PID)
	}
	await(t, c, EventStatus)
	if s := state(t, c); s.Current.Ready || len(s.Current.ReadyIgnored) != 1 || s.Current.ReadyIgnored[0] != e.PID {
		t.Errorf("state %+v", s.Current)
	}
}

// Anybody on the host may write to the notify socket. It makes nothing ready, a
// flood of it is one event, and nobody but root can pass for the program.
func TestForgedReady(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	i := start(t, c, shell(in, 1, "exec sleep 1000"))
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: NotifyPath(in.Directory), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 1000 {
		if _, err := conn.Write([]byte("READY=1\nMAINPID=" + strconv.Itoa(os.Getpid()))); err != nil {
			t.Fatal(err)
		}
	}
	if err := forge(conn, i.Process.PID); !errors.Is(err, syscall.EPERM) {
		t.Errorf("in the program's name: %v, want EPERM", err)
	}
	if err := c.Signal(testContext(t), SignalRequest{Op: "1", Instance: 1, Signal: int(syscall.SIGKILL)}); err != nil {
		t.Fatal(err)
	}
	ignored := 0
	for e := range c.Events() {
		if e.Kind == EventReadyIgnored {
			ignored++
		}
		if e.Kind == EventEmpty {
			break
		}
	}
	s := state(t, c)
	if got := s.Current; got.Ready || got.Process != i.Process || !slices.Equal(got.ReadyIgnored, []int{os.Getpid()}) || ignored != 1 {
		t.Errorf("%d events, %+v", ignored, got)
	}
}

// forge says READY=1 as a user without privileges, under another process's pid.
func forge(conn *net.UnixConn, pid int) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 && os.Geteuid() == 0 {
			done <- errno
			return
		}
		raw, err := conn.SyscallConn()
		if err != nil {
			done <- err
			return
		}
		rights := unix.UnixCredentials(&unix.Ucred{Pid: int32(pid), Uid: uint32(unix.Getuid()), Gid: uint32(unix.Getgid())})
		var sent error
		err = raw.Control(func(fd uintptr) { sent = unix.Sendmsg(int(fd), []byte("READY=1"), rights, nil, 0) })
		done <- errors.Join(err, sent)
	}()
	return <-done
}

func TestShutDownSocketListensAgain(t *testing.T) {
	in := testIntent(t)
	c := spawnTest(t, in)
	ctx := testContext(t)
	l, err := c.Open(ctx, []service.Socket{tcpSocket(t, "web")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l[0].File.Close()
	if err := syscall.Shutdown(int(l[0].File.Fd()), syscall.SHUT_RD); err != nil {
		t.Fatal(err)
	}
	if s := state(t, c); s.Sockets[0].Accepting {
		t.Fatal("accepting after shutdown")
	}
	if err := c.Relisten(ctx, "web", 64); err != nil {
		t.Fatal(err)
	}
	if s := state(t, c); !s.Sockets[0].Accepting || s.Sockets[0].Cookie != l[0].Cookie {
		t.Errorf("socket %+v, want the same one accepting", s.Sockets[0])
	}
	if err := c.Relisten(ctx, "nope", 64); !errors.Is(err, ErrUnknownSocket) {
		t.Errorf("got %v, want ErrUnknownSocket", err)
	}
}
