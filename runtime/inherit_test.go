package gracefleet

import (
	"net"
	"slices"
	"strings"
	"testing"
)

func TestDescriptors(t *testing.T) {
	for _, c := range []struct {
		name            string
		pid, fds, names string
		want            []string
		fails           string
	}{
		{name: "nothing"},
		{name: "two", pid: "7", fds: "2", names: "http:admin", want: []string{"http", "admin"}},
		{name: "unnamed", pid: "7", fds: "2", want: []string{"", ""}},
		{name: "zero", pid: "7", fds: "0"},
		{name: "another's", pid: "8", fds: "2", names: "http:admin"},
		{name: "no pid", fds: "2"},
		{name: "names short", pid: "7", fds: "2", names: "http", fails: "1 names for LISTEN_FDS=2"},
		{name: "not a number", pid: "7", fds: "two", fails: "LISTEN_FDS"},
		{name: "negative", pid: "7", fds: "-1", fails: "LISTEN_FDS"},
		{name: "too many", pid: "7", fds: "999999999", fails: "LISTEN_FDS"},
		{name: "bad pid", pid: "x", fds: "1", fails: "LISTEN_PID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := environment{listenPID: c.pid, listenFDs: c.fds, listenFDNames: c.names}.descriptors(7)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("error %v, want one about %q", err, c.fails)
				}
				return
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Fatalf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func FuzzDescriptors(f *testing.F) {
	f.Add("7", "2", "http:admin")
	f.Add("7", "-1", "::")
	f.Fuzz(func(t *testing.T, pid, fds, names string) {
		got, err := environment{listenPID: pid, listenFDs: fds, listenFDNames: names}.descriptors(7)
		if err != nil && got != nil {
			t.Error("descriptors beside an error")
		}
		if len(got) > maxDescriptors {
			t.Errorf("%d descriptors", len(got))
		}
		if names != "" && len(got) > 0 && strings.Join(got, ":") != names {
			t.Errorf("names %q of %q", got, names)
		}
	})
}

func TestParent(t *testing.T) {
	for _, c := range []struct {
		name    string
		env     environment
		sockets bool
		want    parent
		fails   bool
	}{
		{name: "shell", want: parent{kind: standalone}},
		{name: "socket unit", sockets: true, want: parent{kind: systemd}},
		{name: "notify unit", env: environment{notifySocket: "/n"}, want: parent{kind: systemd}},
		{name: "graced", env: environment{service: "web", generation: "3"}, sockets: true, want: parent{graced, 3}},
		{name: "started by a program of graced", env: environment{service: "web", generation: "3"}, want: parent{kind: standalone}},
		{name: "no number", env: environment{service: "web", generation: "x"}, sockets: true, fails: true},
		{name: "zero", env: environment{service: "web", generation: "0"}, sockets: true, fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.env.parent(c.sockets)
			if (err != nil) != c.fails || got != c.want {
				t.Errorf("%v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func TestSameAddress(t *testing.T) {
	tcp := func(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }
	for _, c := range []struct {
		have    net.Addr
		network string
		address string
		want    bool
	}{
		{tcp("::", 80), "tcp", ":80", true},
		{tcp("0.0.0.0", 80), "tcp", ":http", true},
		{tcp("0.0.0.0", 80), "tcp", "[::]:80", true},
		{tcp("127.0.0.1", 80), "tcp4", "127.0.0.1:80", true},
		{tcp("127.0.0.1", 80), "tcp", ":80", false},
		{tcp("127.0.0.1", 80), "tcp", "127.0.0.1:81", false},
		{tcp("127.0.0.1", 80), "tcp", "nonsense", false},
		{&net.UDPAddr{IP: net.IPv4zero, Port: 53}, "udp", ":53", true},
		{&net.UnixAddr{Name: "/run/s", Net: "unix"}, "unix", "/run/s", true},
		{&net.UnixAddr{Name: "/run/s", Net: "unix"}, "unix", "/run/t", false},
	} {
		if got := sameAddress(c.have, c.network, c.address); got != c.want {
			t.Errorf("%v is %s %s: %v, want %v", c.have, c.network, c.address, got, c.want)
		}
	}
}

func TestFindPrefersNameThenAddress(t *testing.T) {
	listen := func() *inheritedSocket {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		return &inheritedSocket{stream: ln}
	}
	a, b, c := listen(), listen(), listen()
	a.name, b.name = "web", "web" // one systemd unit with two addresses
	svc := &Service{inherited: []*inheritedSocket{a, b, c}, parent: parent{kind: systemd}}
	for _, step := range []struct {
		name, network, address string
		want                   *inheritedSocket
	}{
		{"web", "tcp", b.addr().String(), b},
		{"web", "udp", a.addr().String(), nil},
		{"web", "tcp", ":1", a},
		{"web", "tcp", ":1", nil}, // claimed both
		{"other", "tcp", c.addr().String(), c},
	} {
		got, err := svc.claim(step.name, step.network, step.address)
		if err != nil || got != step.want {
			t.Errorf("%v: got %v, %v; want %v", step, got, err, step.want)
		}
	}
}

func TestOneLine(t *testing.T) {
	if got := oneLine("a\nREADY=1\r\x00b"); got != "a READY=1  b" {
		t.Errorf("%q", got)
	}
	if got := oneLine(strings.Repeat("ä", maxField)); len(got) > maxField {
		t.Errorf("%d bytes", len(got))
	}
}
