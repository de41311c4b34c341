package service_test

import (
	"reflect"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/service/spectest"
)

func TestDefaultReadiness(t *testing.T) {
	socket := func(name, listen string) service.Socket {
		return service.Socket{Name: name, Address: address(t, listen)}
	}
	for name, c := range map[string]struct {
		sockets []service.Socket
		want    service.Probe
	}{
		"first stream socket": {
			[]service.Socket{socket("dns", "udp://:53"), socket("web", "tcp://:80"), socket("tls", "tcp://:443")},
			service.Probe{TCP: &service.TCPProbe{Socket: "web"}},
		},
		"unix":      {[]service.Socket{socket("u", "unix:///run/u")}, service.Probe{TCP: &service.TCPProbe{Socket: "u"}}},
		"udp only":  {[]service.Socket{socket("dns", "udp://:53")}, service.Probe{AliveFor: time.Second}},
		"no socket": {nil, service.Probe{AliveFor: time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			got := service.Spec{Sockets: c.sockets}.WithDefaults()
			if !reflect.DeepEqual(got.Readiness.Probe, c.want) {
				t.Fatalf("got %+v", got.Readiness.Probe)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	s := service.Spec{Sockets: []service.Socket{{Name: "http", Address: address(t, "tcp://:80")}}}.WithDefaults()
	if s.Handover.Dialect != "listen_fds" || s.Command[0] != "{artifact}" || s.Sockets[0].Backlog != 4096 {
		t.Errorf("got %+v", s)
	}
	want := service.Drain{Mode: service.DrainPatient, Signal: int(syscall.SIGTERM), Timeout: 30 * time.Second, MaxGenerations: 16}
	if s.Drain != want {
		t.Errorf("drain: got %+v", s.Drain)
	}
	if s.Restart.Policy != service.RestartAlways || s.Restart.Backoff != 200*time.Millisecond {
		t.Errorf("restart: got %+v", s.Restart)
	}
	// Zero means none, and stays.
	if s.Upgrade.Soak != 0 || s.Upgrade.Hold != 0 || s.KeepGenerations != 0 {
		t.Errorf("a zero with a meaning was replaced: %+v", s)
	}
}

func TestDrainOfDatagramsHasAnEnd(t *testing.T) {
	udp := []service.Socket{{Name: "dns", Address: address(t, "udp://:53")}}
	if got := (service.Spec{Sockets: udp}).WithDefaults().Drain.Mode; got != service.DrainSignal {
		t.Errorf("got %q", got)
	}
	bounded := service.Spec{Sockets: udp, Drain: service.Drain{Patience: time.Minute}}.WithDefaults()
	if bounded.Drain.Mode != service.DrainPatient {
		t.Errorf("got %q", bounded.Drain.Mode)
	}
}

func TestDefaultsDoNotTouchTheirInput(t *testing.T) {
	in := service.Spec{
		Sockets:   []service.Socket{{Name: "http", Address: address(t, "tcp://:80")}},
		Readiness: service.Readiness{Probe: service.Probe{HTTP: &service.HTTPProbe{Socket: "http"}}},
		Upgrade:   service.Upgrade{Check: &service.Check{Probe: service.Probe{HTTP: &service.HTTPProbe{Socket: "http"}}}},
	}
	out := in.WithDefaults()
	if in.Sockets[0].Backlog != 0 || in.Readiness.HTTP.Path != "" || in.Upgrade.Check.Failures != 0 || in.Upgrade.Check.HTTP.Path != "" {
		t.Fatalf("changed: %+v", in)
	}
	if out.Readiness.HTTP.Path != "/" || out.Upgrade.Check.HTTP.Scheme != "http" || out.Upgrade.Check.Failures != 2 {
		t.Fatalf("not filled in: %+v", out)
	}
}

func TestDefaultsTwiceChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := spectest.Valid().Draw(t, "spec")
		if again := s.WithDefaults(); !reflect.DeepEqual(again, s) {
			t.Fatalf("%+v became %+v", s, again)
		}
	})
}
