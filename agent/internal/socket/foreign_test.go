package socket

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/needs"
)

func TestForeignHolderIsNamed(t *testing.T) {
	a := fresh(t, service.TCP, "127.0.0.1")
	wide := a
	wide.IP = netip.IPv6Unspecified()
	f := open(t, wide, "")
	p := play(t, "acceptor", "", f, 0)
	f.Close()
	strangers, err := Foreign(t.Context(), a, nil)
	if err != nil || len(strangers) != 1 {
		t.Fatalf("strangers %+v: %v", strangers, err)
	}
	s := strangers[0]
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if s.PID != p.cmd.Process.Pid || s.Program != exe || s.Address != wide || int(s.UID) != os.Getuid() {
		t.Errorf("stranger %+v, want pid %d of %s on %v", s, p.cmd.Process.Pid, exe, wide)
	}
	if text := InUse(a, s).Error(); !strings.Contains(text, exe) || !strings.Contains(text, wide.String()) {
		t.Error(text)
	}
	if text := (&InUseError{Address: a, Holds: a, UID: 33}).Error(); !strings.Contains(text, "uid 33") {
		t.Error(text)
	}
	if text := (&InUseError{Address: a, Holds: a, PID: 7, Program: "/x", Unit: "web.service"}).Error(); text !=
		a.String()+" is in use by /x (pid 7, unit web.service): stop it, take it over with gracectl adopt, or choose another address" {
		t.Error(text)
	}
}

func TestStrangerInTheGroup(t *testing.T) {
	for _, a := range []service.Address{
		fresh(t, service.TCP, "::"), fresh(t, service.TCP, "127.0.0.1"), fresh(t, service.UDP, "::1"),
		{Network: service.Unix, Path: filepath.Join(shortDir(t), "s")},
	} {
		f := open(t, a, "")
		ours := map[uint64]bool{cookie(t, f): true}
		if s, err := Foreign(t.Context(), a, ours); err != nil || len(s) != 0 {
			t.Errorf("%v: strangers %+v: %v", a, s, err)
		}
		if a.Network == service.Unix {
			if err := os.Remove(a.Path); err != nil {
				t.Fatal(err)
			}
		}
		g := open(t, a, "")
		s, err := Foreign(t.Context(), a, ours)
		if err != nil || len(s) != 1 || s[0].Cookie != cookie(t, g) || s[0].PID != os.Getpid() || s[0].Address != a {
			t.Errorf("%v: strangers %+v: %v", a, s, err)
		}
	}
}

func TestListenersOverlap(t *testing.T) {
	a := fresh(t, service.TCP, "127.0.0.2")
	open(t, a, "")
	for ip, want := range map[string]int{"127.0.0.2": 1, "0.0.0.0": 1, "::": 1, "127.0.0.3": 0, "::1": 0} {
		at := a
		at.IP = netip.MustParseAddr(ip)
		if l, err := Listeners(t.Context(), at); err != nil || len(l) != want {
			t.Errorf("%s: %d listeners, want %d: %v", at, len(l), want, err)
		}
	}
	v6only := a
	v6only.IP, v6only.V6Only = netip.IPv6Unspecified(), true
	f := open(t, v6only, "")
	l, err := Listeners(t.Context(), v6only)
	if err != nil || len(l) != 1 || l[0].Address != v6only || l[0].Cookie != cookie(t, f) {
		t.Errorf("listeners %+v: %v", l, err)
	}
}

func TestListenersOnADevice(t *testing.T) {
	a := fresh(t, service.TCP, "0.0.0.0")
	f := open(t, a, "")
	a.Device = "lo"
	if err := unix.BindToDevice(int(f.Fd()), "lo"); err != nil {
		needs.That(t, false, "binding to a device: "+err.Error())
	}
	if l, err := Listeners(t.Context(), a); err != nil || len(l) != 1 || l[0].Address != a {
		t.Errorf("listeners %+v: %v", l, err)
	}
}

func TestHolderOfNobody(t *testing.T) {
	if p, ok := Holder(1 << 40); ok {
		t.Errorf("holder %+v", p)
	}
}

func TestUnitOf(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/nginx.service\n":                                      "nginx.service",
		"0::/system.slice/graced.service/gen-7\n":                               "graced.service",
		"0::/user.slice/user-1.slice/session-2.scope\n":                         "session-2.scope",
		"5:memory:/a.service\n1:name=systemd:/system.slice/web.service\n0::/\n": "web.service",
		"0::/\n":  "",
		"garbage": "",
	} {
		if got := unitOf(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
