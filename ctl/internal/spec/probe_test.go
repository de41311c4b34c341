package spec

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestProbes(t *testing.T) {
	second := time.Second
	for text, want := range map[string]*Probe{
		"":                       nil,
		"timeout: 1s":            nil,
		"notify:":                {Notify: true},
		"notify: {}":             {Notify: true},
		"notify: ~":              nil, // refused below
		"parent_signal: {}":      {ParentSignal: true},
		"alive_for: 1s":          {AliveFor: &second},
		"tcp: {socket: http}":    {TCP: &TCPProbe{Socket: "http"}},
		"tcp:":                   {TCP: &TCPProbe{}},
		"exec: {command: [a]}":   {Exec: &ExecProbe{Command: []string{"a"}}},
		"grpc: {service: s}":     {GRPC: &GRPCProbe{Service: "s"}},
		"tcp: {}, tls: {}":       {TCP: &TCPProbe{TLS: &TLS{}}},
		"tcp: {tls: {ca: /pem}}": {TCP: &TCPProbe{TLS: &TLS{CA: "/pem"}}},
		"http: {socket: http, path: /healthz, host: h, status: 204}":          {HTTP: &HTTPProbe{Socket: "http", Path: "/healthz", Host: "h", Status: 204}},
		"http: {path: /}, tls: {server_name: a, verify: false}":               {HTTP: &HTTPProbe{Path: "/", Scheme: "https", TLS: &TLS{ServerName: "a", SkipVerify: true}}},
		"http: {path: /, scheme: https, tls: {server_name: a, verify: true}}": {HTTP: &HTTPProbe{Path: "/", Scheme: "https", TLS: &TLS{ServerName: "a"}}},
	} {
		f, err := Parse("web.yaml", []byte("name: web\nready: {"+text+"}"))
		if text == "notify: ~" {
			if err == nil {
				t.Error("notify: ~ is taken")
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, f.Ready.Probe); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestBareMappings(t *testing.T) {
	f := parse(t, "name: web\nready:\n  notify:\n  timeout: 5s\ndrain:\nhandover:\nsockets:\n")
	if f.Ready.Probe == nil || !f.Ready.Probe.Notify || f.Drain == nil {
		t.Errorf("%+v", f)
	}
}
