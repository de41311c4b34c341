package service_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"tcp://0.0.0.0:80", "tcp://:80", "udp://[::]:53", "unix:///run/x.sock", "tcp://[fe80::1%eth0]:1", "tcp://[::ffff:1.2.3.4]:1", "unix://@x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := service.ParseAddress(s)
		if err != nil {
			return
		}
		again, err := service.ParseAddress(a.String())
		if err != nil || again != a {
			t.Fatalf("%q became %v, which became %v, %v", s, a, again, err)
		}
		if !a.Overlaps(a) {
			t.Fatalf("%v does not overlap itself", a)
		}
	})
}

func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"web", "../x", "a/b", "a\n", "", ".", "..", "a..b", strings.Repeat("a", 64), "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if service.CheckName(s) != nil {
			return
		}
		if len(s) > 63 || s != filepath.Base(s) || !filepath.IsLocal(s) || strings.ContainsAny(s, "/\\\x00\n =:") || s[0] == '.' || s[0] == '-' {
			t.Fatalf("%q is no file name", s)
		}
	})
}

func TestSignals(t *testing.T) {
	for _, name := range []string{"SIGTERM", "TERM", "SIGQUIT", "WINCH"} {
		n, err := service.ParseSignal(name)
		if err != nil || !strings.HasSuffix(service.SignalName(n), strings.TrimPrefix(name, "SIG")) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	for _, name := range []string{"", "SIGKILL", "SIGSTOP", "sigterm", "15", "SIG"} {
		if n, err := service.ParseSignal(name); err == nil {
			t.Errorf("%s: accepted as %d", name, n)
		}
	}
}
