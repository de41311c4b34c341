package socket

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
	"github.com/gracefleet/gracefleet/internal/needs"
)

// foreignListener opens one as a program that knows of nothing does, as a user.
func foreignListener(t *testing.T, a service.Address, protocol, uid int) int {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if uid != os.Geteuid() {
		// The kernel notes the file-system user, which is a thread's own.
		if err := unix.Setfsuid(uid); err != nil {
			t.Fatal(err)
		}
		defer unix.Setfsuid(os.Geteuid())
	}
	family := unix.AF_INET
	if a.IP.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ENOPROTOOPT) {
		needs.That(t, false, "the kernel has no multipath TCP")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	var to unix.Sockaddr = &unix.SockaddrInet6{Port: int(a.Port), Addr: a.IP.As16()}
	if a.IP.Is4() {
		to = &unix.SockaddrInet4{Port: int(a.Port), Addr: a.IP.As4()}
	}
	if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, to), unix.Listen(fd, 256)); err != nil {
		t.Fatal(err)
	}
	return fd
}

// take takes over what this process itself holds under a number.
func take(t *testing.T, a service.Address, number int) *os.File {
	t.Helper()
	inode, ok := HeldAt(os.Getpid(), number)
	if !ok {
		t.Fatal("the listener is not held")
	}
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	f, err := Take(pidfd, number, inode, a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// A listener that somebody else opened becomes the first member of a group: its
// program goes on accepting, and others of the group take over and give back.
func TestShare(t *testing.T) {
	uids := []int{os.Geteuid()}
	if os.Geteuid() == 0 {
		uids = append(uids, 65534)
	}
	for _, protocol := range []int{unix.IPPROTO_TCP, unix.IPPROTO_MPTCP} {
		for _, ip := range []string{"127.0.0.1", "0.0.0.0", "::"} {
			for _, uid := range uids {
				t.Run(fmt.Sprintf("protocol %d on %s of uid %d", protocol, ip, uid), func(t *testing.T) {
					testShare(t, fresh(t, service.TCP, ip), protocol, uid)
				})
			}
		}
	}
}

func testShare(t *testing.T, a service.Address, protocol, uid int) {
	fd := foreignListener(t, a, protocol, uid)
	busy := dial(t, "tcp", local4(a)) // the port has a connection
	legacy := take(t, a, fd)
	if n := accept(t, legacy); n != 1 {
		t.Fatalf("%d connections were accepted before, want 1", n)
	}
	for range 2 { // it is repeatable
		if err := Share(legacy, service.Socket{Name: "test", Address: a}, uid); err != nil {
			t.Fatal(err)
		}
	}
	owner := ownerOf(t, a, legacy)
	if plain := protocol == unix.IPPROTO_TCP; plain && owner != os.Geteuid() || !plain && owner != uid {
		t.Errorf("its group belongs to uid %d", owner)
	}
	const some = 40
	touch(t, local4(a), some)
	if n := accept(t, legacy); n != some {
		t.Errorf("alone, the adopted one got %d of %d", n, some)
	}
	successor, err := listen.Open(service.Socket{Name: "test", Address: a}, listen.Options{Owner: &owner})
	if err != nil {
		t.Fatal(err)
	}
	defer successor.Close()
	for _, winner := range []steer.Slot{1, 2, 1} {
		attach(t, successor, []steer.Slot{1, 2}, steer.Weights{Share: map[steer.Slot]int{winner: steer.Whole}}, a)
		touch(t, local4(a), some)
		want := map[steer.Slot]int{winner: some}
		if old, next := accept(t, legacy), accept(t, successor); old != want[1] || next != want[2] {
			t.Errorf("slot %d has all weight: the adopted one got %d, the next %d of %d", winner, old, next, some)
		}
	}
	if err := busy.Close(); err != nil {
		t.Error(err)
	}
}

// ownerOf is the user whose sockets can join a listener's group, as the kernel
// lists it.
func ownerOf(t *testing.T, a service.Address, f *os.File) int {
	t.Helper()
	inode, err := Inode(f)
	if err != nil {
		t.Fatal(err)
	}
	all, err := Listeners(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(l Listener) bool { return l.Inode == inode })
	if i < 0 {
		t.Fatalf("the listener is not among %v", all)
	}
	return int(all[i].UID)
}

// Nothing is changed that could not be finished.
func TestShareRefused(t *testing.T) {
	a := fresh(t, service.TCP, "127.0.0.1")
	fd := foreignListener(t, a, unix.IPPROTO_TCP, os.Geteuid())
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0); err != nil {
		t.Fatal(err)
	}
	dial(t, "tcp", local4(a)) // it keeps the port
	legacy := take(t, a, fd)
	accepted, _, err := unix.Accept(int(legacy.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(accepted)
	err = Share(legacy, service.Socket{Name: "test", Address: a}, os.Geteuid())
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), a.String()) || !strings.Contains(err.Error(), "without SO_REUSEADDR") {
		t.Errorf("shared: %v", err)
	}
	if on, err := getsockopt(legacy, unix.SOL_SOCKET, unix.SO_REUSEPORT); on != 0 || err != nil {
		t.Errorf("SO_REUSEPORT is %d: %v", on, err)
	}
}

func TestTakeAnother(t *testing.T) {
	a := fresh(t, service.TCP, "127.0.0.1")
	fd := foreignListener(t, a, unix.IPPROTO_TCP, os.Geteuid())
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	if _, err := Take(pidfd, fd, 1, a.String()); err == nil || !strings.Contains(err.Error(), "has closed it") {
		t.Errorf("another socket: %v", err)
	}
	if _, err := Take(pidfd, 1<<20, 1, a.String()); !errors.Is(err, syscall.EBADF) {
		t.Errorf("no descriptor: %v", err)
	}
}
