package gracefleet

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/internal/needs"
)

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello\n") })

const (
	crowdSize  = 2000
	crowdThink = time.Second
)

func needFiles(t *testing.T) {
	var lim unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_NOFILE, &lim)
	needs.That(t, lim.Cur >= 3*crowdSize, fmt.Sprintf("RLIMIT_NOFILE %d is too low for %d connections", lim.Cur, crowdSize))
}

// serve runs a service on a port of its own; the channel has ServeHTTP's outcome.
func serve(t *testing.T, opts Options, srv *http.Server) (*Service, string, <-chan error) {
	t.Helper()
	svc := start(t, opts)
	ln, err := svc.Listen("http", "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- svc.ServeHTTP(srv, ln) }()
	return svc, ln.Addr().String(), served
}

func drained(t *testing.T, svc *Service, served <-chan error) {
	t.Helper()
	if err := within(t, 20*time.Second, "ServeHTTP", served); err != nil {
		t.Errorf("ServeHTTP: %v", err)
	}
	if err := svc.Wait(); err != nil {
		t.Errorf("Wait: %v", err)
	}
	if cause := context.Cause(svc.Context()); !errors.Is(cause, ErrDrained) {
		t.Errorf("Context ended by %v, want ErrDrained", cause)
	}
}

func TestDrainLosesNoRequest(t *testing.T) {
	needFiles(t)
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	for round := range rounds {
		svc, addr, served := serve(t, Options{LameDuck: 1500 * time.Millisecond}, &http.Server{Handler: hello})
		c := newCrowd(t, addr, crowdSize, crowdThink)
		begun := time.Now()
		svc.Drain()
		drained(t, svc, served)
		took := time.Since(begun)
		c.end()
		t.Logf("round %d: %v; drained in %v", round, c, took.Round(time.Millisecond))
		if c.lost.Load() != 0 {
			t.Errorf("round %d: lost %d requests", round, c.lost.Load())
		}
		if got := c.announced.Load() + c.idleClosed.Load(); got != crowdSize {
			t.Errorf("round %d: %d connections ended politely, want %d", round, got, crowdSize)
		}
	}
}

// The measure itself: what the drain above is for.
func TestPlainShutdownLosesRequests(t *testing.T) {
	needFiles(t)
	for range 5 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: hello}
		go srv.Serve(ln)
		c := newCrowd(t, ln.Addr().String(), crowdSize, crowdThink/10)
		srv.Shutdown(t.Context())
		c.end()
		t.Log(c)
		if c.lost.Load() > 0 {
			return
		}
	}
	t.Error("no request was lost: these clients would not notice a loss")
}

func TestQueuedConnectionsAreServedFirst(t *testing.T) {
	svc := start(t, Options{LameDuck: 10 * time.Second})
	ln, err := svc.Listen("http", "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// In the queue before anyone accepts, and before the drain.
	const n = 20
	var conns []net.Conn
	for range n {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n")
		conns = append(conns, c)
	}
	svc.Drain()
	served := make(chan error, 1)
	go func() { served <- svc.ServeHTTP(&http.Server{Handler: hello}, ln) }()
	for i, c := range conns {
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		if !resp.Close {
			t.Errorf("connection %d: the end was not announced", i)
		}
	}
	drained(t, svc, served)
	if c, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		c.Close()
		t.Error("a standalone service still accepts after its drain")
	}
}

func TestSlowAndPipelinedRequestsFinish(t *testing.T) {
	entered := make(chan struct{})
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/", hello)
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		io.WriteString(w, "slow\n")
	})
	svc, addr, served := serve(t, Options{LameDuck: 50 * time.Millisecond}, &http.Server{Handler: mux})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: test\r\n\r\nGET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
	<-entered
	svc.Drain()
	select {
	case err := <-served:
		t.Fatalf("drained with a request in its handler: %v", err)
	case <-time.After(300 * time.Millisecond): // longer than LameDuck and a scan
	}
	close(release)
	br := bufio.NewReader(c)
	for i, want := range []string{"slow\n", "hello\n"} {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != want {
			t.Errorf("answer %d: %q, want %q", i, body, want)
		}
		if last := i == 1; resp.Close != last {
			t.Errorf("answer %d: Connection: close is %v", i, resp.Close)
		}
	}
	drained(t, svc, served)
}

// A request that had reached the kernel when the idle connection was ended.
func TestRequestBeforeEndReadIsAnswered(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	io.WriteString(c, "GET /")
	if quiet(peer) {
		t.Error("a connection with bytes to read is called quiet")
	}
	endRead(peer)
	got := make([]byte, 16)
	if n, err := peer.Read(got); err != nil || string(got[:n]) != "GET /" {
		t.Errorf("after endRead: read %q, %v", got[:n], err)
	}
	if _, err := peer.Read(got); !errors.Is(err, io.EOF) {
		t.Errorf("then: %v, want EOF", err)
	}
	if _, err := io.WriteString(peer, "answer"); err != nil {
		t.Errorf("answer: %v", err)
	}
}

func TestHijackedConnectionIsTheProgramsToTrack(t *testing.T) {
	var svc *Service
	var states atomic.Int64
	srv := &http.Server{ConnState: func(net.Conn, http.ConnState) { states.Add(1) }}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		done := svc.Track("ws")
		go func() {
			defer done()
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n")
			io.Copy(io.Discard, c)
		}()
	})
	svc, addr, served := serve(t, Options{LameDuck: time.Millisecond}, srv)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("upgrade: %v, %v", resp, err)
	}
	svc.Drain()
	if err := within(t, 5*time.Second, "ServeHTTP", served); err != nil {
		t.Error(err)
	}
	if got := svc.work.String(); got != "1 ws" {
		t.Errorf("left: %q, want 1 ws", got)
	}
	waited := make(chan error, 1)
	go func() { waited <- svc.Wait() }()
	select {
	case err := <-waited:
		t.Fatalf("Wait returned with a tracked connection open: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	c.Close()
	if err := within(t, 5*time.Second, "Wait", waited); err != nil {
		t.Error(err)
	}
	if states.Load() < 2 {
		t.Error("the program's own ConnState was not called")
	}
}

func TestDeadlineCutsAndSays(t *testing.T) {
	entered := make(chan struct{})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})}
	svc, addr, served := serve(t, Options{LameDuck: time.Millisecond, DrainTimeout: 200 * time.Millisecond}, srv)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n")
	<-entered
	svc.Track("job")
	svc.Drain()
	err = svc.Wait()
	if !errors.Is(err, ErrDeadline) || !strings.Contains(err.Error(), "1 active, 1 job") {
		t.Errorf("Wait: %v, want ErrDeadline with 1 active, 1 job", err)
	}
	if err := within(t, 5*time.Second, "ServeHTTP", served); !errors.Is(err, ErrDeadline) {
		t.Errorf("ServeHTTP: %v, want ErrDeadline", err)
	}
}

func TestNilHandlerAndTwoListeners(t *testing.T) {
	mux := http.DefaultServeMux
	http.DefaultServeMux = http.NewServeMux()
	t.Cleanup(func() { http.DefaultServeMux = mux })
	http.Handle("/default-mux", hello)
	svc := start(t, Options{LameDuck: 50 * time.Millisecond})
	srv := &http.Server{}
	served := make(chan error, 2)
	sock := t.TempDir() + "/s"
	for _, l := range []struct{ network, address string }{{"tcp", "127.0.0.1:0"}, {"unix", sock}} {
		ln, err := svc.Listen("", l.network, l.address)
		if err != nil {
			t.Fatal(err)
		}
		go func() { served <- svc.ServeHTTP(srv, ln) }()
	}
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", sock)
		},
	}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://unix/default-mux")
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
	svc.Drain()
	if err := within(t, 5*time.Second, "first ServeHTTP", served); err != nil {
		t.Error(err)
	}
	drained(t, svc, served)
	if _, err := os.Stat(sock); !os.IsNotExist(err) {
		t.Errorf("the path of a socket the program bound itself: %v, want it removed", err)
	}
}

func TestHTTP2DrainsByGoAway(t *testing.T) {
	// For its certificate alone.
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	svc := start(t, Options{LameDuck: 100 * time.Millisecond})
	ln, err := svc.Listen("https", "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: cert.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}
	served := make(chan error, 1)
	go func() { served <- svc.ServeHTTP(&http.Server{Handler: hello}, tls.NewListener(ln, config)) }()
	transport := cert.Client().Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = true
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	get := func() {
		t.Helper()
		resp, err := client.Get("https://" + ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "hello\n" || resp.ProtoMajor != 2 {
			t.Fatalf("%s %q: %v", resp.Proto, body, err)
		}
	}
	get()
	svc.Drain()
	get() // on the connection there was
	drained(t, svc, served)
}

func TestServeErrorEndsWait(t *testing.T) {
	svc := start(t, Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	go svc.ServeHTTP(&http.Server{}, ln)
	if err := svc.Wait(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Wait: %v, want the listener's error", err)
	}
}
