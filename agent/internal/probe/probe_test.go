package probe

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/needs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// to is a target whose every socket is at one address.
func to(addr net.Addr) Target {
	return Target{Dial: func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, addr.Network(), addr.String())
	}}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// want checks an error's text; "" wants none. Every cause is one line.
func want(t *testing.T, what string, err error, text string) {
	t.Helper()
	switch {
	case text == "" && err != nil, text != "" && err == nil:
		t.Errorf("%s: got %v, want %q", what, err, text)
	case err != nil && (!strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n")):
		t.Errorf("%s: got %q, want one line with %q", what, err, text)
	}
}

// refused is an address where nothing listens.
func refused(t *testing.T) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return l.Addr()
}

func TestHTTP(t *testing.T) {
	var followed atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "web.example" && r.Host != "localhost" || !r.Close {
			w.WriteHeader(http.StatusTeapot)
		}
		fmt.Fprint(w, "fine")
	})
	mux.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { followed.Store(true) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for _, err := w.Write(make([]byte, 1024)); err == nil; _, err = w.Write(make([]byte, 1024)) {
		}
	})
	mux.HandleFunc("/hangup", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	srv := httptest.NewServer(mux)
	defer srv.Close()
	for _, c := range []struct {
		p    service.HTTPProbe
		text string
	}{
		{service.HTTPProbe{Path: "/ok"}, ""},
		{service.HTTPProbe{Path: "/ok", Host: "web.example"}, ""},
		{service.HTTPProbe{Path: "/ok", Status: 204}, "GET /ok answered 200, want 204"},
		{service.HTTPProbe{Path: "/bad"}, "GET /bad answered 500"},
		{service.HTTPProbe{Path: "/bad", Status: 500}, ""},
		{service.HTTPProbe{Path: "/moved"}, ""},
		{service.HTTPProbe{Path: "/endless"}, ""},
		{service.HTTPProbe{Path: "/hangup"}, "GET /hangup: connection closed without an answer"},
		{service.HTTPProbe{Path: "/ok", Scheme: "https"}, "GET /ok: "},
	} {
		err := Run(within(t, 10*time.Second), service.Probe{HTTP: &c.p}, to(srv.Listener.Addr()))
		want(t, c.p.Path, err, c.text)
	}
	if followed.Load() {
		t.Error("a redirect was followed")
	}
	err := Run(within(t, 10*time.Second), service.Probe{HTTP: &service.HTTPProbe{Path: "/"}}, to(refused(t)))
	want(t, "nobody listens", err, "GET /: connection refused")
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v is not ECONNREFUSED", err)
	}
}

// A slot listens before its program accepts: the answer stays away.
func TestNobodyAccepts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, p := range map[string]service.Probe{
		"http":    {HTTP: &service.HTTPProbe{Path: "/"}},
		"grpc":    {GRPC: &service.GRPCProbe{}},
		"tcp tls": {TCP: &service.TCPProbe{Socket: "web", TLS: &service.TLSProbe{}}},
	} {
		err := Run(within(t, 50*time.Millisecond), p, to(l.Addr()))
		want(t, name, err, "no answer in time")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v is not the context's cause", name, err)
		}
	}
	target := to(l.Addr())
	want(t, "tcp", Run(within(t, time.Second), service.Probe{TCP: &service.TCPProbe{Socket: "web"}}, target), "")
	target.Accepted = func(ctx context.Context, socket string, conn net.Conn) error {
		if socket != "web" || conn == nil {
			t.Errorf("asked about %q, %v", socket, conn)
		}
		return errors.New("the program does not accept")
	}
	err = Run(within(t, time.Second), service.Probe{TCP: &service.TCPProbe{Socket: "web"}}, target)
	want(t, "tcp, accepted asked", err, "connection to web: the program does not accept")
}

// caFile writes a test server's certificate where a probe can read it.
func caFile(t *testing.T, srv *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(path, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = nil
	srv.StartTLS()
	defer srv.Close()
	good := &service.TLSProbe{ServerName: "example.com", CA: caFile(t, srv)}
	rubbish := filepath.Join(t.TempDir(), "rubbish")
	if err := os.WriteFile(rubbish, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		tls  *service.TLSProbe
		text string
	}{
		"verified":     {good, ""},
		"skipped":      {&service.TLSProbe{SkipVerify: true}, ""},
		"host's roots": {&service.TLSProbe{ServerName: "example.com"}, "unknown authority"},
		"other name":   {&service.TLSProbe{ServerName: "other.example", CA: good.CA}, "not other.example"},
		"no CA file":   {&service.TLSProbe{CA: "/nope"}, "no such file"},
		"bad CA file":  {&service.TLSProbe{CA: rubbish}, "holds no PEM certificate"},
	} {
		h := service.HTTPProbe{Scheme: "https", Path: "/", Status: 404, TLS: c.tls}
		want(t, "http "+name, Run(within(t, 10*time.Second), service.Probe{HTTP: &h}, to(srv.Listener.Addr())), c.text)
		p := service.TCPProbe{Socket: "web", TLS: c.tls}
		want(t, "tcp "+name, Run(within(t, 10*time.Second), service.Probe{TCP: &p}, to(srv.Listener.Addr())), c.text)
	}
	named := service.HTTPProbe{Scheme: "https", Host: "example.com:8443", Path: "/", Status: 404, TLS: &service.TLSProbe{CA: good.CA}}
	want(t, "name from host", Run(within(t, 10*time.Second), service.Probe{HTTP: &named}, to(srv.Listener.Addr())), "")
}

// serveGRPC runs a real server with the health service until the test ends.
func serveGRPC(t *testing.T, withHealth bool, o ...grpc.ServerOption) (net.Addr, *health.Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, h := grpc.NewServer(o...), health.NewServer()
	if withHealth {
		healthpb.RegisterHealthServer(srv, h)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr(), h
}

func TestGRPC(t *testing.T) {
	addr, h := serveGRPC(t, true)
	h.SetServingStatus("web", healthpb.HealthCheckResponse_NOT_SERVING)
	bare, _ := serveGRPC(t, false)
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for name, c := range map[string]struct {
		addr    net.Addr
		service string
		text    string
	}{
		"serving":     {addr, "", ""},
		"not serving": {addr, "web", "grpc health check: NOT_SERVING"},
		"unknown":     {addr, "other", "does not know this service"},
		"no health":   {bare, "", "no grpc.health.v1 service"},
		"refused":     {refused(t), "", "grpc health check: connection refused"},
		"not gRPC":    {plain.Listener.Addr(), "", "grpc health check: "},
	} {
		p := service.Probe{GRPC: &service.GRPCProbe{Service: c.service}}
		want(t, name, Run(within(t, 10*time.Second), p, to(c.addr)), c.text)
	}
}

func TestGRPCOverTLS(t *testing.T) {
	certs := httptest.NewUnstartedServer(nil)
	certs.StartTLS()
	defer certs.Close()
	creds := credentials.NewTLS(&tls.Config{Certificates: certs.TLS.Certificates})
	addr, _ := serveGRPC(t, true, grpc.Creds(creds))
	for name, c := range map[string]struct {
		tls  *service.TLSProbe
		text string
	}{
		"verified": {&service.TLSProbe{ServerName: "example.com", CA: caFile(t, certs)}, ""},
		"skipped":  {&service.TLSProbe{SkipVerify: true}, ""},
		"unknown":  {&service.TLSProbe{}, "certificate"},
		"plain":    {nil, "grpc health check: "},
	} {
		p := service.Probe{GRPC: &service.GRPCProbe{TLS: c.tls}}
		want(t, name, Run(within(t, 10*time.Second), p, to(addr)), c.text)
	}
}

func TestExec(t *testing.T) {
	dir := t.TempDir()
	target := Target{Env: []string{"GRACEFLEET_SERVICE=web"}, Dir: dir}
	for name, c := range map[string]struct {
		command []string
		text    string
	}{
		"true":       {[]string{"/bin/true"}, ""},
		"env":        {[]string{"/bin/sh", "-c", `test "$GRACEFLEET_SERVICE" = web -a -z "$HOME"`}, ""},
		"dir":        {[]string{"/bin/sh", "-c", `test "$PWD" = ` + dir}, ""},
		"fails":      {[]string{"/bin/sh", "-c", "echo one; echo two >&2; exit 7"}, "command /bin/sh: exit status 7: one two"},
		"long":       {[]string{"/bin/sh", "-c", "i=0; while [ $i -lt 999 ]; do echo $i; i=$((i+1)); done; exit 1"}, "997 998"},
		"signal":     {[]string{"/bin/sh", "-c", "kill -SEGV $$"}, "signal: segmentation fault"},
		"none":       {[]string{"/nope"}, "command /nope: no such file or directory"},
		"no command": {nil, "without a command"},
	} {
		p := service.Probe{Exec: &service.ExecProbe{Command: c.command}}
		want(t, name, Run(within(t, 20*time.Second), p, target), c.text)
	}
}

// The whole group ends with the probe: at ctx's end and after a success.
func TestExecLeavesNothingBehind(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		limit  time.Duration
		text   string
	}{
		"hangs":             {`trap "" TERM; sleep 1000 & echo $! >pid; echo waiting; wait`, 300 * time.Millisecond, "no answer in time"},
		"leaves background": {`sleep 1000 & echo $! >pid`, 20 * time.Second, ""},
	} {
		dir := t.TempDir()
		p := service.Probe{Exec: &service.ExecProbe{Command: []string{"/bin/sh", "-c", c.script}}}
		begin := time.Now()
		err := Run(within(t, c.limit), p, Target{Dir: dir})
		want(t, name, err, c.text)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		b, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err != nil {
			t.Fatal(err)
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		gone := func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || strings.Contains(string(stat), ") Z ")
		}
		for deadline := time.Now().Add(5 * time.Second); !gone(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: process %d lives on", name, pid)
			}
		}
	}
}

func TestExecAsUser(t *testing.T) {
	needs.That(t, os.Geteuid() == 0, "another user needs root")
	p := service.Probe{Exec: &service.ExecProbe{Command: []string{"/bin/sh", "-c", `test "$(id -u):$(id -g)" = 65534:65534`}}}
	target := Target{Dir: "/", Env: []string{"PATH=/usr/bin:/bin"}, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	want(t, "nobody", Run(within(t, 10*time.Second), p, target), "")
}

func TestNotAProbe(t *testing.T) {
	for _, p := range []service.Probe{{Notify: true}, {AliveFor: time.Second}, {}} {
		if err := Run(within(t, 10*time.Second), p, Target{}); !errors.Is(err, ErrNotAProbe) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func BenchmarkHTTP(b *testing.B) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	p := service.Probe{HTTP: &service.HTTPProbe{Path: "/", Status: 404}}
	for b.Loop() {
		if err := Run(b.Context(), p, to(srv.Listener.Addr())); err != nil {
			b.Fatal(err)
		}
	}
}
