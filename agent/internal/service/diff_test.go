package service_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/service/spectest"
)

func TestDiff(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*service.Spec)
		want   []service.Change
	}{
		"duration": {
			func(s *service.Spec) { s.Drain.Timeout = 90 * time.Minute },
			[]service.Change{{Field: "drain.timeout", From: "30s", To: "1h30m", Immediate: true}},
		},
		"percent": {
			func(s *service.Spec) {
				s.Upgrade.Steps = []service.Step{{Weight: 25}, {Weight: 100, Manual: true}, {Weight: 5000}}
			},
			[]service.Change{{Field: "upgrade.steps", To: "0.25%, 1% manual, 50%", Immediate: true}},
		},
		"address": {
			func(s *service.Spec) { s.Sockets[0].Address = address(t, "tcp://[::1]:8080") },
			[]service.Change{{Field: "sockets.http", From: "tcp://127.0.0.1:8080, backlog 4096", To: "tcp://[::1]:8080, backlog 4096"}},
		},
		"new socket": {
			func(s *service.Spec) {
				s.Sockets = append(s.Sockets, service.Socket{Name: "u", Address: address(t, "unix:///run/u"), Mode: new(uint32(0o660))})
			},
			[]service.Change{
				{Field: "sockets", From: "http", To: "http, u"},
				{Field: "sockets.u", To: "unix:///run/u, mode 0660"},
			},
		},
		"readiness": {
			func(s *service.Spec) {
				s.Readiness.Probe = service.Probe{HTTP: &service.HTTPProbe{Socket: "http", Scheme: "http", Path: "/ok", Status: 204}}
			},
			[]service.Change{
				{Field: "ready.http", To: "{socket: http, scheme: http, path: /ok, status: 204}"},
				{Field: "ready.tcp", From: "{socket: http}"},
			},
		},
		"policies": {
			func(s *service.Spec) {
				s.Drain.Signal, s.Restart.Policy, s.KeepGenerations = 3, service.RestartNever, 0
			},
			[]service.Change{
				{Field: "drain.signal", From: "SIGTERM", To: "SIGQUIT", Immediate: true},
				{Field: "restart.policy", From: "always", To: "never", Immediate: true},
				{Field: "keep_generations", From: "5", To: "0", Immediate: true},
			},
		},
		"credentials": {
			func(s *service.Spec) { s.Credentials = map[string]string{"db": "/etc/db"}; s.EnvFile = "/etc/env" },
			[]service.Change{{Field: "credentials.db", To: "/etc/db"}, {Field: "env_file", To: "/etc/env"}},
		},
		"command": {
			func(s *service.Spec) { s.Args = []string{"-m", "a b", ""} },
			[]service.Change{{Field: "args", To: `-m "a b" ""`}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := spectest.Minimal(), spectest.Minimal()
			c.change(&b)
			if d := cmp.Diff(c.want, service.Diff(a, b)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDiffHidesTheEnvironment(t *testing.T) {
	a, b := spectest.Minimal(), spectest.Minimal()
	a.Env = map[string]string{"CHANGED": "secret-1", "REMOVED": "secret-2", "SAME": "secret-3"}
	b.Env = map[string]string{"CHANGED": "secret-4", "ADDED": "", "SAME": "secret-3"}
	got := service.Diff(a, b)
	want := []service.Change{
		{Field: "env.ADDED", To: "(set)"},
		{Field: "env.CHANGED", From: "(set)", To: "(changed)"},
		{Field: "env.REMOVED", From: "(set)"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if strings.Contains(fmt.Sprint(got), "secret") {
		t.Errorf("a value is shown: %v", got)
	}
}

// Two specifications differ in what Diff shows exactly if their ETags differ.
func TestDiffAndETagAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := spectest.Valid().Draw(t, "a"), spectest.Valid().Draw(t, "b")
		if d := service.Diff(a, a); len(d) > 0 {
			t.Fatalf("Diff(a, a) = %v", d)
		}
		if d := service.Diff(a, b); (len(d) == 0) != (service.ETag(a) == service.ETag(b)) {
			t.Fatalf("etags %s and %s, difference %v", service.ETag(a), service.ETag(b), d)
		}
		if len(service.Diff(a, b)) != len(service.Diff(b, a)) {
			t.Fatal("Diff is not symmetric")
		}
	})
}
