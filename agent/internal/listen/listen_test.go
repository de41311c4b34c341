package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/needs"
)

func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func open(t *testing.T, s service.Socket, o Options) *os.File {
	t.Helper()
	f, err := Open(s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func inet(n service.Network, ip string, port uint16) service.Address {
	return service.Address{Network: n, IP: netip.MustParseAddr(ip), Port: port}
}

func flags(t *testing.T, f *os.File, cmd int) int {
	t.Helper()
	v, err := unix.FcntlInt(f.Fd(), cmd, 0)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTCP(t *testing.T) {
	port := freePort(t)
	for _, a := range []service.Address{inet(service.TCP, "127.0.0.1", port), inet(service.TCP, "::1", port)} {
		s := service.Socket{Name: "web", Address: a}
		first, second := open(t, s, Options{}), open(t, s, Options{}) // a group
		for _, f := range []*os.File{first, second} {
			if !Accepting(f) || flags(t, f, unix.F_GETFL)&unix.O_NONBLOCK == 0 || flags(t, f, unix.F_GETFD)&unix.FD_CLOEXEC == 0 {
				t.Errorf("%s: accepting %t, flags %x", a, Accepting(f), flags(t, f, unix.F_GETFL))
			}
		}
		c1, err1 := Cookie(first)
		c2, err2 := Cookie(second)
		if err1 != nil || err2 != nil || c1 == c2 || c1 == 0 {
			t.Errorf("cookies %d and %d, %v %v", c1, c2, err1, err2)
		}
		conn, err := net.Dial("tcp", netip.AddrPortFrom(a.IP, port).String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
}

func TestDualStack(t *testing.T) {
	port := freePort(t)
	open(t, service.Socket{Name: "web", Address: inet(service.TCP, "::", port)}, Options{})
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	a := inet(service.TCP, "::", freePort(t))
	a.V6Only = true
	open(t, service.Socket{Name: "web", Address: a}, Options{})
	if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", a.Port)); err == nil {
		conn.Close()
		t.Error("an IPv6-only socket took an IPv4 connection")
	}
}

func TestUDP(t *testing.T) {
	a := inet(service.UDP, "127.0.0.1", freePort(t))
	f := open(t, service.Socket{Name: "dns", Address: a}, Options{})
	if Accepting(f) {
		t.Error("a UDP socket accepts nothing")
	}
	conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", a.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "hello")
	b := make([]byte, 16)
	if n, _, err := unix.Recvfrom(int(f.Fd()), b, 0); err != nil || string(b[:n]) != "hello" {
		t.Errorf("got %q, %v", b[:max(n, 0)], err)
	}
}

func TestUnix(t *testing.T) {
	dir := t.TempDir()
	public, private := filepath.Join(dir, "public"), filepath.Join(dir, "private")
	mode := uint32(0o600)
	s := service.Socket{Name: "admin", Address: service.Address{Network: service.Unix, Path: public}}
	f := open(t, s, Options{PrivatePath: private})
	if st, err := os.Stat(private); err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v, want mode 0660", st.Mode(), err)
	}
	if _, err := os.Stat(public); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the public path was touched: %v", err)
	}
	if err := os.Link(private, public); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", public)
	if err != nil || !Accepting(f) {
		t.Fatal(err)
	}
	conn.Close()
	s.Address.Path, s.Mode = filepath.Join(dir, "other"), &mode
	open(t, s, Options{})
	if st, err := os.Stat(s.Address.Path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, want mode 0600", st.Mode(), err)
	}
}

func TestErrors(t *testing.T) {
	foreign, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	tests := map[syscall.Errno]service.Address{
		syscall.EADDRINUSE:    inet(service.TCP, "127.0.0.1", uint16(foreign.Addr().(*net.TCPAddr).Port)),
		syscall.EADDRNOTAVAIL: inet(service.TCP, "192.0.2.1", 8080),
		syscall.ENOENT:        {Network: service.Unix, Path: "/nonexistent/a.sock"},
	}
	if os.Geteuid() != 0 {
		if b, _ := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); string(b) == "1024\n" {
			tests[syscall.EACCES] = inet(service.TCP, "127.0.0.1", 81)
		}
	}
	for errno, a := range tests {
		_, err := Open(service.Socket{Name: "x", Address: a}, Options{})
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, errno) || e.Address != a || e.hint() == "" {
			t.Errorf("%s: got %v, want %v with a hint", a, err, errno)
		}
	}
	floating := service.Socket{Name: "vip", Address: inet(service.TCP, "192.0.2.1", 8080), FreeBind: true}
	open(t, floating, Options{})
}

func TestListenAgain(t *testing.T) {
	a := inet(service.TCP, "127.0.0.1", freePort(t))
	f := open(t, service.Socket{Name: "web", Address: a}, Options{})
	before, _ := Cookie(f)
	if err := unix.Shutdown(int(f.Fd()), unix.SHUT_RD); err != nil || Accepting(f) {
		t.Fatalf("shutdown: %v, accepting %t", err, Accepting(f))
	}
	if err := Listen(f, 16); err != nil || !Accepting(f) {
		t.Fatalf("listen: %v, accepting %t", err, Accepting(f))
	}
	if after, err := Cookie(f); err != nil || after != before {
		t.Errorf("cookie %d, %v, want %d", after, err, before)
	}
}

func TestGuard(t *testing.T) {
	for _, ip := range []string{"0.0.0.0", "::"} {
		a := inet(service.TCP, ip, freePort(t))
		f, err := Open(service.Socket{Name: "web", Address: a}, Options{Guard: true})
		needs.That(t, os.Geteuid() == 0 || !errors.Is(err, syscall.EPERM), "this kernel lets only CAP_NET_ADMIN filter TCP")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		address := fmt.Sprintf("127.0.0.1:%d", a.Port)
		public := net.Dialer{Timeout: 100 * time.Millisecond}
		if conn, err := public.Dial("tcp", address); err == nil {
			conn.Close()
			t.Errorf("%s: the guard let a user in", a)
		}
		private := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: ProbeSource[:]}}
		conn, err := private.Dial("tcp", address)
		if err != nil {
			t.Fatalf("%s: the guard kept the probe out: %v", a, err)
		}
		conn.Close()
		for range 2 {
			if err := Unguard(f); err != nil {
				t.Fatal(err)
			}
		}
		public.Timeout = 5 * time.Second
		if conn, err = public.Dial("tcp", address); err != nil {
			t.Fatalf("%s: after Unguard: %v", a, err)
		}
		conn.Close()
	}
}

func TestFileIsNotPolled(t *testing.T) {
	a := inet(service.TCP, "127.0.0.1", freePort(t))
	f := open(t, service.Socket{Name: "web", Address: a}, Options{})
	d, err := Dup(f)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, f := range []*os.File{f, d} {
		// A file that the poller watches can have a deadline.
		if err := f.SetDeadline(time.Now()); !errors.Is(err, os.ErrNoDeadline) {
			t.Errorf("SetDeadline: %v, want ErrNoDeadline", err)
		}
	}
	c1, _ := Cookie(f)
	if c2, err := Cookie(d); err != nil || c1 != c2 {
		t.Errorf("cookies %d and %d, %v", c1, c2, err)
	}
}

// The user of a service may own the directory of its socket, and put there what they
// like between the agent's steps.
func TestModeOfASocketAlone(t *testing.T) {
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "s")
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := chmodSocket(path, 0o606); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o606 {
		t.Errorf("the socket has mode %v, %v", info.Mode(), err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(victim, link); err != nil {
		t.Fatal(err)
	}
	for _, planted := range []string{link, victim} {
		if err := chmodSocket(planted, 0o666); !errors.Is(err, unix.ENOTSOCK) {
			t.Errorf("%s: %v, want ENOTSOCK", planted, err)
		}
	}
	if info, err := os.Stat(victim); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the victim has mode %v, %v", info.Mode(), err)
	}
}
