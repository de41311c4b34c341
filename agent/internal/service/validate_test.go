package service_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/service/spectest"
)

func address(t *testing.T, s string) service.Address {
	t.Helper()
	a, err := service.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestValidSpecsAreAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := spectest.Valid().Draw(t, "spec")
		if err := s.Validate(); err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
	})
}

// Each case breaks one rule of a valid specification.
func TestEveryRule(t *testing.T) {
	udp := service.Socket{Name: "dns", Address: address(t, "udp://0.0.0.0:53")}
	unix := service.Socket{Name: "admin", Address: address(t, "unix:///run/admin.sock")}
	mode := func(m uint32) *uint32 { return &m }
	ready := func(p service.Probe) func(*service.Spec) {
		return func(s *service.Spec) { s.Readiness.Probe = p }
	}
	check := func(p service.Probe) func(*service.Spec) {
		return func(s *service.Spec) { s.Upgrade.Check = &service.Check{Probe: p, Interval: time.Second, Failures: 2} }
	}
	alone := func(then func(*service.Spec)) func(*service.Spec) {
		return func(s *service.Spec) {
			s.Upgrade = service.Upgrade{NoOverlap: true, OverlapLimit: time.Second, StepTimeout: time.Second}
			then(s)
		}
	}
	tcp := service.Probe{TCP: &service.TCPProbe{Socket: "http"}}
	http := func(h service.HTTPProbe) service.Probe {
		if h.Socket == "" {
			h.Socket = "http"
		}
		return service.Probe{HTTP: &h}
	}
	for _, c := range []struct {
		field, reason string
		breakIt       func(*service.Spec)
	}{
		{"name", "required", func(s *service.Spec) { s.Name = "" }},
		{"name", "use a-z", func(s *service.Spec) { s.Name = "../x" }},
		{"name", "use a-z", func(s *service.Spec) { s.Name = "a/b" }},
		{"name", "use a-z", func(s *service.Spec) { s.Name = "web\n" }},
		{"name", "at most 63", func(s *service.Spec) { s.Name = strings.Repeat("a", 64) }},

		{"artifact", "required", func(s *service.Spec) { s.Artifact = "" }},
		{"artifact", "want sha256", func(s *service.Spec) { s.Artifact = "./web" }},
		{"artifact", "64 digits", func(s *service.Spec) { s.Artifact = "sha256:abc" }},
		{"artifact", "64 digits", func(s *service.Spec) { s.Artifact = "sha256:" + strings.Repeat("A", 64) }},
		{"artifact", "64 digits", func(s *service.Spec) { s.Artifact = "sha256:" + strings.Repeat("a", 64) + "\n" }},
		{"artifact", "absolute and clean", func(s *service.Spec) { s.Artifact = "host:bin/web" }},
		{"artifact", "absolute and clean", func(s *service.Spec) { s.Artifact = "host:/usr/../bin/web" }},

		{"command[0]", "{nothing} is not known", func(s *service.Spec) { s.Command = []string{"{nothing}{artifact}"} }},
		{"command[1]", "{file:x} is not known", func(s *service.Spec) { s.Command = []string{"{artifact}", "{file:x}"} }},
		{"command[1]", "NUL", func(s *service.Spec) { s.Command = []string{"{artifact}", "a\x00"} }},
		{"command[0]", "absolute", func(s *service.Spec) { s.Command = []string{"node", "{artifact}"} }},
		{"command", "would change nothing", func(s *service.Spec) { s.Command = []string{"/usr/bin/node"} }},
		{"args[1]", "NUL", func(s *service.Spec) { s.Args = []string{"a", "\x00"} }},
		{"args[0]", "{file:web.toml} names nothing", func(s *service.Spec) { s.Args = []string{"-config={file:web.toml}"} }},
		{"args[0]", "{credential:db} names nothing", func(s *service.Spec) { s.Args = []string{"{credential:db}"} }},
		{"args[0]", "{fd:nothing} names nothing", func(s *service.Spec) { s.Args = []string{"{fd:nothing}"} }},
		{"args[0]", "not supported", func(s *service.Spec) { s.Args = []string{"{host.vars.x}"} }},
		{"handover.env.FD", "{fd:nothing} names nothing", func(s *service.Spec) { s.Handover.Env = map[string]string{"FD": "{fd:nothing}"} }},
		{"handover.env.LISTEN_FDS", "agent itself", func(s *service.Spec) { s.Handover.Env = map[string]string{"LISTEN_FDS": "1"} }},
		{"preset", "gracectl explain presets", func(s *service.Spec) { s.Preset = "ngnix" }},
		{"sockets", "exactly one", func(s *service.Spec) { s.Handover.Dialect = "goagain"; s.Sockets = nil }},
		{"ready.parent_signal", "no signal", func(s *service.Spec) { s.Readiness.Probe = service.Probe{ParentSignal: true} }},

		{`env["A=B"]`, "letters", func(s *service.Spec) { s.Env = map[string]string{"A=B": ""} }},
		{`env[""]`, "letters", func(s *service.Spec) { s.Env = map[string]string{"": "x"} }},
		{"env.A", "NUL", func(s *service.Spec) { s.Env = map[string]string{"A": "\x00"} }},
		{"env.GRACEFLEET_X", "by the agent", func(s *service.Spec) { s.Env = map[string]string{"GRACEFLEET_X": ""} }},
		{"env.LISTEN_FDS", "by the agent", func(s *service.Spec) { s.Env = map[string]string{"LISTEN_FDS": "1"} }},
		{"env.NOTIFY_SOCKET", "by the agent", func(s *service.Spec) { s.Env = map[string]string{"NOTIFY_SOCKET": "/x"} }},
		{"env.WATCHDOG_USEC", "by the agent", func(s *service.Spec) { s.Env = map[string]string{"WATCHDOG_USEC": "1"} }},

		{`credentials["../db"]`, "is no path", func(s *service.Spec) { s.Credentials = map[string]string{"../db": "/etc/db"} }},
		{`credentials[""]`, "is no path", func(s *service.Spec) { s.Credentials = map[string]string{"": "/etc/db"} }},
		{`credentials["a\nb"]`, "is no path", func(s *service.Spec) { s.Credentials = map[string]string{"a\nb": "/etc/db"} }},
		{"credentials.db", "absolute", func(s *service.Spec) { s.Credentials = map[string]string{"db": "etc/db"} }},
		{"credentials.db", "clean", func(s *service.Spec) { s.Credentials = map[string]string{"db": "/etc/../db"} }},
		{"credentials.db", "control", func(s *service.Spec) { s.Credentials = map[string]string{"db": "/etc/a\nb"} }},
		{"credentials", "at most 64", func(s *service.Spec) {
			s.Credentials = map[string]string{}
			for i := range 65 {
				s.Credentials[fmt.Sprint("c", i)] = "/etc/db"
			}
		}},
		{"env.CREDENTIALS_DIRECTORY", "by the agent", func(s *service.Spec) {
			s.Credentials = map[string]string{"db": "/etc/db"}
			s.Env = map[string]string{"CREDENTIALS_DIRECTORY": "/tmp"}
		}},
		{"env_file", "absolute", func(s *service.Spec) { s.EnvFile = "secrets" }},

		{"user", "neither", func(s *service.Spec) { s.User = "a b" }},
		{"user", "neither", func(s *service.Spec) { s.User = "4294967295" }},
		{"user", "neither", func(s *service.Spec) { s.User = "www:data" }},
		{"working_directory", "absolute", func(s *service.Spec) { s.WorkingDirectory = "srv" }},
		{"working_directory", "clean", func(s *service.Spec) { s.WorkingDirectory = "/srv/" }},
		{"handover.dialect", "not known", func(s *service.Spec) { s.Handover.Dialect = "smoke" }},

		{"sockets", "at most 64", func(s *service.Spec) {
			for i := range 64 {
				s.Sockets = append(s.Sockets, service.Socket{Name: fmt.Sprint("s", i), Address: address(t, fmt.Sprint("tcp://127.0.0.2:", i+1))})
			}
		}},
		{"sockets[0].name", "use a-z", func(s *service.Spec) { s.Sockets[0].Name = "H"; s.Readiness.Probe = service.Probe{Notify: true} }},
		{"sockets[1].name", "already the name", func(s *service.Spec) {
			s.Sockets = append(s.Sockets, service.Socket{Name: "http", Address: address(t, "tcp://127.0.0.1:81")})
		}},
		{"sockets[1].listen", "overlaps", func(s *service.Spec) {
			s.Sockets = append(s.Sockets, service.Socket{Name: "b", Address: address(t, "tcp://127.0.0.1:8080")})
		}},
		{"sockets[1].listen", "overlaps", func(s *service.Spec) {
			s.Sockets = append(s.Sockets, service.Socket{Name: "b", Address: address(t, "tcp://[::]:8080")})
		}},
		{"sockets[0].listen", "unknown network", func(s *service.Spec) { s.Sockets[0].Address.Network = "unixgram" }},
		{"sockets[0].listen", "port", func(s *service.Spec) { s.Sockets[0].Address.Port = 0 }},
		{"sockets[0].listen", "plain form", func(s *service.Spec) { s.Sockets[0].Address.Path = "/x" }},
		{"sockets[1].listen", "control", func(s *service.Spec) { u := unix; u.Address.Path = "/run/a\nb"; s.Sockets = append(s.Sockets, u) }},
		{"sockets[0].backlog", "from 0", func(s *service.Spec) { s.Sockets[0].Backlog = -1 }},
		{"sockets[1].backlog", "no queue", func(s *service.Spec) { u := udp; u.Backlog = 5; s.Sockets = append(s.Sockets, u) }},
		{"sockets[0].mode", "only a unix", func(s *service.Spec) { s.Sockets[0].Mode = mode(0o660) }},
		{"sockets[1].mode", "from 0 to 0777", func(s *service.Spec) { u := unix; u.Mode = mode(0o4755); s.Sockets = append(s.Sockets, u) }},
		{"sockets[0].v6only", "not an IPv6", func(s *service.Spec) { s.Sockets[0].Address.V6Only = true }},
		{"sockets[0].device", "at most 15", func(s *service.Spec) { s.Sockets[0].Address.Device = strings.Repeat("e", 16) }},
		{"sockets[0].device", "not a network device", func(s *service.Spec) { s.Sockets[0].Address.Device = "a/b" }},
		{"sockets[1].device", "no network device", func(s *service.Spec) { u := unix; u.Address.Device = "eth0"; s.Sockets = append(s.Sockets, u) }},
		{"sockets[1].freebind", "no address", func(s *service.Spec) { u := unix; u.FreeBind = true; s.Sockets = append(s.Sockets, u) }},

		{"ready", "got none", ready(service.Probe{})},
		{"ready", "got notify, tcp", ready(service.Probe{Notify: true, TCP: &service.TCPProbe{Socket: "http"}})},
		{"ready.timeout", "from 10ms", func(s *service.Spec) { s.Readiness.Timeout = -time.Second }},
		{"ready.timeout", "to 24h", func(s *service.Spec) { s.Readiness.Timeout = 25 * time.Hour }},
		{"ready.alive_for", "nothing would ever", ready(service.Probe{AliveFor: time.Minute})},
		{"ready.alive_for", "from 1ms", ready(service.Probe{AliveFor: -time.Second})},
		{"ready.tcp.socket", "no socket \"x\"", ready(service.Probe{TCP: &service.TCPProbe{Socket: "x"}})},
		{"ready.grpc.socket", "missing", ready(service.Probe{GRPC: &service.GRPCProbe{}})},
		{"ready.grpc.service", "control", ready(service.Probe{GRPC: &service.GRPCProbe{Socket: "http", Service: "a\n"}})},
		{"ready.tcp.socket", "datagrams", func(s *service.Spec) {
			s.Sockets = append(s.Sockets, udp)
			s.Readiness.Probe = service.Probe{TCP: &service.TCPProbe{Socket: "dns"}}
		}},
		{"ready.http.scheme", "neither", ready(http(service.HTTPProbe{Scheme: "ftp", Path: "/"}))},
		{"ready.http.tls", "https", ready(http(service.HTTPProbe{Scheme: "http", Path: "/", TLS: &service.TLSProbe{}}))},
		{"ready.http.path", "begin with /", ready(http(service.HTTPProbe{Scheme: "http", Path: "healthz"}))},
		{"ready.http.path", "no space", ready(http(service.HTTPProbe{Scheme: "http", Path: "/a b"}))},
		{"ready.http.path", "begin with /", ready(http(service.HTTPProbe{Scheme: "http", Path: "/a\r\nX: y"}))},
		{"ready.http.host", "not a host", ready(http(service.HTTPProbe{Scheme: "http", Path: "/", Host: "a\r\nb"}))},
		{"ready.http.status", "100 to 599", ready(http(service.HTTPProbe{Scheme: "http", Path: "/", Status: 99}))},
		{"ready.tcp.tls.ca", "absolute", ready(service.Probe{TCP: &service.TCPProbe{Socket: "http", TLS: &service.TLSProbe{CA: "ca.pem"}}})},
		{"ready.tcp.tls.ca", "skip_verify", ready(service.Probe{TCP: &service.TCPProbe{Socket: "http", TLS: &service.TLSProbe{CA: "/ca.pem", SkipVerify: true}}})},
		{"ready.tcp.tls.server_name", "not a host", ready(service.Probe{TCP: &service.TCPProbe{Socket: "http", TLS: &service.TLSProbe{ServerName: "a b"}}})},
		{"ready.exec.command", "missing", ready(service.Probe{Exec: &service.ExecProbe{}})},
		{"ready.exec.command[0]", "absolute", ready(service.Probe{Exec: &service.ExecProbe{Command: []string{"curl"}}})},
		{"ready.exec.command", "NUL", ready(service.Probe{Exec: &service.ExecProbe{Command: []string{"/bin/x", "\x00"}}})},

		{"upgrade.check", "got notify", check(service.Probe{Notify: true})},
		{"upgrade.check", "got alive_for", check(service.Probe{AliveFor: time.Second})},
		{"upgrade.check", "got none", check(service.Probe{})},
		{"upgrade.check.tcp.socket", "no socket", check(service.Probe{TCP: &service.TCPProbe{Socket: "x"}})},
		{"upgrade.check.interval", "from 100ms", func(s *service.Spec) { check(tcp)(s); s.Upgrade.Check.Interval = time.Millisecond }},
		{"upgrade.check.failures", "from 1", func(s *service.Spec) { check(tcp)(s); s.Upgrade.Check.Failures = -1 }},
		{"upgrade.steps", "0% is not", func(s *service.Spec) { s.Upgrade.Steps = []service.Step{{Weight: 0}} }},
		{"upgrade.steps", "100% is not", func(s *service.Spec) { s.Upgrade.Steps = []service.Step{{Weight: 10000}} }},
		{"upgrade.steps", "1% does not rise above 5%", func(s *service.Spec) { s.Upgrade.Steps = []service.Step{{Weight: 500}, {Weight: 100}} }},
		{"upgrade.steps", "does not rise", func(s *service.Spec) { s.Upgrade.Steps = []service.Step{{Weight: 500}, {Weight: 500}} }},
		{"upgrade.steps", "at most 100", func(s *service.Spec) { s.Upgrade.Steps = make([]service.Step, 101) }},
		{"upgrade.hold", "from 0s", func(s *service.Spec) { s.Upgrade.Hold = -1 }},
		{"upgrade.min_connections", "from 0", func(s *service.Spec) { s.Upgrade.MinConnections = -1 }},
		{"upgrade.step_timeout", "from 1ms", func(s *service.Spec) { s.Upgrade.StepTimeout = -1 }},
		{"upgrade.step_timeout", "not more than the hold", func(s *service.Spec) { s.Upgrade.MinConnections, s.Upgrade.Hold = 1, time.Hour }},
		{"upgrade.soak", "from 0s", func(s *service.Spec) { s.Upgrade.Soak = -1 }},
		{"upgrade.overlap_limit", "of no use", func(s *service.Spec) { s.Upgrade.OverlapLimit = time.Second }},
		{"upgrade.overlap_limit", "from 100ms", alone(func(s *service.Spec) { s.Upgrade.OverlapLimit = time.Millisecond })},
		{"upgrade.steps", "ends first", alone(func(s *service.Spec) { s.Upgrade.Steps = []service.Step{{Weight: 1}} })},
		{"upgrade.soak", "ends first", alone(func(s *service.Spec) { s.Upgrade.Soak = 1 })},
		{"upgrade.check", "judges nobody", alone(check(tcp))},
		{"upgrade.overlap", "udp", alone(func(s *service.Spec) { s.Sockets = append(s.Sockets, udp) })},
		{"upgrade.rollback_window", "from 0s", func(s *service.Spec) { s.Upgrade.RollbackWindow = -1 }},

		{"drain.mode", "not known", func(s *service.Spec) { s.Drain.Mode = "rude" }},
		{"drain.patience", "from 0s", func(s *service.Spec) { s.Drain.Patience = -1 }},
		{"drain.patience", "of no use", func(s *service.Spec) { s.Drain.Mode, s.Drain.Patience = service.DrainSignal, time.Second }},
		{"drain.patience", "no connections to wait for", func(s *service.Spec) {
			s.Sockets, s.Readiness.Probe = []service.Socket{udp}, service.Probe{Notify: true}
		}},
		{"drain.signal", "not a signal", func(s *service.Spec) { s.Drain.Signal = 9 }},
		{"drain.timeout", "from 1ms", func(s *service.Spec) { s.Drain.Timeout = -1 }},
		{"drain.max_generations", "from 2", func(s *service.Spec) { s.Drain.MaxGenerations = 1 }},
		{"drain.max_generations", "to 64", func(s *service.Spec) { s.Drain.MaxGenerations = 65 }},
		{"restart.policy", "not known", func(s *service.Spec) { s.Restart.Policy = "maybe" }},
		{"restart.backoff", "from 1ms", func(s *service.Spec) { s.Restart.Backoff = -1 }},
		{"restart.max_backoff", "less than the backoff", func(s *service.Spec) { s.Restart.MaxBackoff = time.Millisecond }},
		{"restart.max_backoff", "to 24h", func(s *service.Spec) { s.Restart.MaxBackoff = 25 * time.Hour }},
		{"restart.hold", "from 0s", func(s *service.Spec) { s.Restart.Hold = -1 }},
		{"keep_generations", "to 100", func(s *service.Spec) { s.KeepGenerations = 101 }},
		{"keep_generations", "from 0", func(s *service.Spec) { s.KeepGenerations = -1 }},
		{"spec", "at most 131072", func(s *service.Spec) { s.Args = []string{strings.Repeat("a", 128<<10)} }},
	} {
		t.Run(c.field+"/"+c.reason, func(t *testing.T) {
			s := spectest.Minimal()
			c.breakIt(&s)
			var invalid *service.InvalidError
			if !errors.As(s.Validate(), &invalid) {
				t.Fatal("accepted")
			}
			for _, v := range invalid.Violations {
				if v.Field == c.field && strings.Contains(v.Reason, c.reason) {
					return
				}
			}
			t.Fatalf("no violation of %s with %q: %v", c.field, c.reason, invalid)
		})
	}
}

func TestAllViolationsAtOnce(t *testing.T) {
	err := service.Spec{}.Validate()
	var invalid *service.InvalidError
	if !errors.As(err, &invalid) || len(invalid.Violations) < 8 {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"name: ", "artifact: ", "ready: ", "drain.mode: ", "restart.policy: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
}

func TestWhatIsAllowed(t *testing.T) {
	for name, change := range map[string]func(*service.Spec){
		"literal braces":        func(s *service.Spec) { s.Args = []string{`{"a": 1}`, "{level}"} },
		"numeric user":          func(s *service.Spec) { s.User = "0" },
		"user of Debian's exim": func(s *service.Spec) { s.User = "Debian-exim" },
		"credentials": func(s *service.Spec) {
			s.Credentials = map[string]string{"db-password": "/etc/db", "TLS.key": "/etc/tls"}
			s.Args = []string{"-password-file={credential:db-password}"}
		},
		"a directory of credentials of its own": func(s *service.Spec) { s.Env = map[string]string{"CREDENTIALS_DIRECTORY": "/srv"} },
		"no soak":                               func(s *service.Spec) { s.Upgrade.Soak = 0 },
		"v6 beside v4":                          func(s *service.Spec) { s.Sockets = append(s.Sockets, v6(address(t, "tcp://[::]:8080"))) },
		"same port, other proto": func(s *service.Spec) {
			s.Sockets = append(s.Sockets, service.Socket{Name: "q", Address: address(t, "udp://127.0.0.1:8080")})
		},
		"no sockets at all": func(s *service.Spec) {
			s.Sockets, s.Readiness.Probe = nil, service.Probe{AliveFor: time.Second}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := spectest.Minimal()
			change(&s)
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func v6(a service.Address) service.Socket {
	a.V6Only = true
	return service.Socket{Name: "v6", Address: a}
}
