package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
)

// TestMain lets the test binary play the other processes too.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		roles[role]()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func timeout(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// fresh returns an address like pattern on a port that is free now.
func fresh(t testing.TB, network service.Network, ip string) service.Address {
	t.Helper()
	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return service.Address{Network: network, IP: netip.MustParseAddr(ip), Port: uint16(l.Addr().(*net.TCPAddr).Port)}
}

func open(t testing.TB, a service.Address, private string) *os.File {
	t.Helper()
	f, err := listen.Open(service.Socket{Name: "test", Address: a}, listen.Options{PrivatePath: private})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func cookie(t testing.TB, f *os.File) uint64 {
	t.Helper()
	c, err := listen.Cookie(f)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func attach(t testing.TB, f *os.File, order []steer.Slot, w steer.Weights, a service.Address) {
	t.Helper()
	p, err := steer.Program(order, w, a)
	if err != nil {
		t.Fatal(err)
	}
	if err := Attach(f, p); err != nil {
		t.Fatal(err)
	}
}

// accept takes everything that waits and returns the number.
func accept(t testing.TB, f *os.File) int {
	t.Helper()
	n := 0
	for {
		fd, _, err := unix.Accept4(int(f.Fd()), unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EAGAIN) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		n++
	}
}

// touch connects and resets n times: no port stays in TIME_WAIT.
func touch(t testing.TB, to string, n int) {
	t.Helper()
	ap := netip.MustParseAddrPort(to)
	for range n {
		fd, err := unix.Socket(domain(ap), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		}
		if err == nil {
			err = unix.Connect(fd, sockaddr(ap))
		}
		unix.Close(fd)
		if err != nil {
			t.Fatalf("connect to %s: %v", to, err)
		}
	}
}

func domain(ap netip.AddrPort) int {
	if ap.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func sockaddr(ap netip.AddrPort) unix.Sockaddr {
	if ap.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
}

func local4(a service.Address) string { return fmt.Sprintf("127.0.0.1:%d", a.Port) }
func local6(a service.Address) string { return fmt.Sprintf("[::1]:%d", a.Port) }

// eventually asks the kernel until it agrees, for states without an event.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	err := poll(timeout(t, 10*time.Second), func() (bool, error) { return ok(), nil })
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// shortDir is short enough for socket paths.
func shortDir(t testing.TB) string {
	t.Helper()
	d, err := os.MkdirTemp("", "gf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(d) })
	return filepath.Clean(d)
}
