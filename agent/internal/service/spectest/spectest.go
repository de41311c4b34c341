// Package spectest makes specifications for the tests of other packages.
package spectest

import (
	"fmt"
	"syscall"
	"time"

	"pgregory.net/rapid"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Minimal is a valid specification with every default in place.
func Minimal() service.Spec {
	return service.Spec{
		Name:     "web",
		Artifact: "host:/usr/bin/web",
		Sockets:  []service.Socket{{Name: "http", Address: must("tcp://127.0.0.1:8080")}},
		Upgrade: service.Upgrade{
			Hold: service.DefaultHold, Soak: service.DefaultSoak, RollbackWindow: service.DefaultRollbackWindow,
		},
		Restart:         service.Restart{Hold: service.DefaultRestartHold},
		KeepGenerations: service.DefaultKeepGenerations,
	}.WithDefaults()
}

func must(s string) service.Address {
	a, err := service.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// Valid draws valid specifications with every default in place.
func Valid() *rapid.Generator[service.Spec] { return rapid.Custom(valid) }

func valid(t *rapid.T) service.Spec {
	s := Minimal()
	s.Artifact = rapid.SampledFrom([]string{"host:/usr/bin/web", fmt.Sprintf("sha256:%064x", 7)}).Draw(t, "artifact")
	s.Command = rapid.SampledFrom([][]string{{"{artifact}"}, {"/usr/bin/node", "--x", "{artifact}"}}).Draw(t, "command")
	s.Args = rapid.SliceOfN(rapid.StringMatching(`[a-z ="-]{0,9}`), 0, 4).Draw(t, "args")
	s.Env = rapid.MapOfN(rapid.StringMatching(`[A-Z]{1,4}`), rapid.StringMatching(`[ -~]{0,9}`), 0, 3).Draw(t, "env")
	s.Credentials = rapid.MapOfN(rapid.StringMatching(`[a-z]{1,4}`), rapid.SampledFrom([]string{"/etc/web/password", "/run/secrets/key"}), 0, 2).Draw(t, "credentials")
	s.EnvFile = rapid.SampledFrom([]string{"", "/etc/web/env"}).Draw(t, "env file")
	s.User = rapid.SampledFrom([]string{"", "www-data", "1000"}).Draw(t, "user")
	s.WorkingDirectory = rapid.SampledFrom([]string{"", "/", "/srv/web"}).Draw(t, "working directory")
	s.Sockets = sockets(t)
	s.Readiness = service.Readiness{Timeout: duration(t, "timeout", time.Minute), Probe: probe(t, true)}
	s.Upgrade = upgrade(t)
	s.Drain.Mode = rapid.SampledFrom([]service.DrainMode{service.DrainPatient, service.DrainSignal}).Draw(t, "mode")
	if s.Drain.Mode == service.DrainPatient {
		s.Drain.Patience = rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "patience")
	}
	s.Drain.Signal = int(rapid.SampledFrom([]syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT}).Draw(t, "signal"))
	s.Drain.Timeout = duration(t, "drain timeout", time.Second)
	s.Drain.MaxGenerations = rapid.IntRange(2, 64).Draw(t, "max generations")
	s.Restart.Policy = rapid.SampledFrom([]service.RestartPolicy{service.RestartAlways, service.RestartNever}).Draw(t, "policy")
	s.Restart.Hold = duration(t, "restart hold", 0)
	s.KeepGenerations = rapid.IntRange(0, 100).Draw(t, "keep")
	return s.WithDefaults()
}

func duration(t *rapid.T, name string, least time.Duration) time.Duration {
	return least + time.Duration(rapid.IntRange(0, 1e6).Draw(t, name))*time.Millisecond
}

// sockets begin with a stream socket called http, for probes.
func sockets(t *rapid.T) []service.Socket {
	list := []service.Socket{{Name: "http", Address: must("tcp://[::]:8080")}}
	list[0].Address.V6Only = rapid.Bool().Draw(t, "v6only")
	list[0].FreeBind = rapid.Bool().Draw(t, "freebind")
	if rapid.Bool().Draw(t, "admin") {
		mode := rapid.Uint32Range(0, 0o777).Draw(t, "mode")
		list = append(list, service.Socket{Name: "admin", Address: must("unix:///run/web/admin.sock"), Mode: &mode, Backlog: 7})
	}
	if rapid.Bool().Draw(t, "dns") {
		a := must("udp://10.0.0.1:53")
		a.Device = "eth0"
		list = append(list, service.Socket{Name: "dns", Address: a})
	}
	return list
}

func probe(t *rapid.T, readiness bool) service.Probe {
	var tls *service.TLSProbe
	if rapid.Bool().Draw(t, "tls") {
		tls = &service.TLSProbe{ServerName: "web.example", SkipVerify: true}
	}
	kinds := []service.Probe{
		{HTTP: &service.HTTPProbe{Socket: "http", Scheme: "https", Path: "/healthz", Status: 204, TLS: tls}},
		{GRPC: &service.GRPCProbe{Socket: "http", Service: "web", TLS: tls}},
		{TCP: &service.TCPProbe{Socket: "http", TLS: tls}},
		{Exec: &service.ExecProbe{Command: []string{"/bin/true", "a b"}}},
	}
	if readiness {
		kinds = append(kinds, service.Probe{Notify: true}, service.Probe{AliveFor: time.Second})
	}
	return rapid.SampledFrom(kinds).Draw(t, "probe")
}

func upgrade(t *rapid.T) service.Upgrade {
	u := service.Upgrade{
		Hold: duration(t, "hold", 0), Soak: duration(t, "soak", 0), RollbackWindow: duration(t, "window", 0),
		MinConnections: rapid.IntRange(0, 100).Draw(t, "min connections"),
		StepTimeout:    duration(t, "step timeout", time.Hour),
	}
	weight := 0
	for range rapid.IntRange(0, 4).Draw(t, "steps") {
		weight += rapid.IntRange(1, 2000).Draw(t, "weight")
		u.Steps = append(u.Steps, service.Step{Weight: weight, Manual: rapid.Bool().Draw(t, "manual")})
	}
	if rapid.Bool().Draw(t, "check") {
		u.Check = &service.Check{Probe: probe(t, false), Interval: time.Second, Failures: 3}
	}
	return u
}
