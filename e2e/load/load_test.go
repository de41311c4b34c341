package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serveHTTP runs a server that names itself generation 7.
func serveHTTP(t *testing.T, network, address string, h http.Handler) string {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	var served sync.WaitGroup
	served.Go(func() { srv.Serve(ln) })
	t.Cleanup(func() { srv.Close(); served.Wait() })
	return ln.Addr().String()
}

var seven = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, "gen=7 version=v1 pid=1\n")
})

// serveRaw answers every connection with a function of its own.
func serveRaw(t *testing.T, handle func(*net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				handle(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { ln.Close(); serving.Wait() })
	return ln.Addr().String()
}

// runUntil runs the load until enough says so.
func runUntil(t *testing.T, cfg Config, what string, enough func(Snapshot) bool) Snapshot {
	t.Helper()
	l := Run(t.Context(), cfg)
	deadline := time.Now().Add(20 * time.Second)
	for !enough(l.Snapshot()) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: never seen\n%v", what, l.Stop())
		}
		time.Sleep(5 * time.Millisecond)
	}
	return l.Stop()
}

func TestNothingLostOnAHealthyServer(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			var heard atomic.Int64
			cfg := Config{
				Address: serveHTTP(t, network, address, seven),
				Fresh:   300, KeepAlive: 300, Connections: 8,
				OnAnswer: func(a Answer) {
					if a.Generation == "7" {
						heard.Add(1)
					}
				},
			}
			s := runUntil(t, cfg, "1 s", func(s Snapshot) bool { return s.Elapsed > time.Second })
			t.Log(s)
			if s.Lost() != 0 {
				t.Errorf("lost %d", s.Lost())
			}
			for name, side := range map[string]Side{"fresh": s.Fresh, "keep-alive": s.KeepAlive} {
				if side.Sent != side.Answered || side.Sent < 290 {
					t.Errorf("%s: %d sent, %d answered, want some 300 of each", name, side.Sent, side.Answered)
				}
				if side.Latency.P50 <= 0 || side.Latency.Max < side.Latency.P50 || side.LongestGap <= 0 {
					t.Errorf("%s: %+v", name, side)
				}
			}
			if s.KeepAlive.Connects != 8 || s.KeepAlive.Announced != 0 {
				t.Errorf("%d connects, %d announced ends, want 8 and 0", s.KeepAlive.Connects, s.KeepAlive.Announced)
			}
			g := s.Generations["7"]
			if g.Answers != s.Answered() || g.Fresh != s.Fresh.Answered || heard.Load() != g.Answers {
				t.Errorf("generation 7: %+v, heard %d, want all %d", g, heard.Load(), s.Answered())
			}
			if !g.LastFreshConnect.Before(g.LastFreshAnswer) || g.FirstAnswer.After(g.LastFreshAnswer) {
				t.Errorf("times out of order: %+v", g)
			}
		})
	}
}

func TestEveryLossIsTold(t *testing.T) {
	readRequest := func(c *net.TCPConn) { http.ReadRequest(bufio.NewReader(c)) }
	for _, c := range []struct {
		want   Loss
		handle func(*net.TCPConn)
	}{
		{Reset, func(c *net.TCPConn) { readRequest(c); c.SetLinger(0) }},
		{EOF, readRequest},
		{Truncated, func(c *net.TCPConn) { readRequest(c); io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le") }},
		{Truncated, func(c *net.TCPConn) {
			readRequest(c)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		}},
		{BadStatus, func(c *net.TCPConn) {
			readRequest(c)
			io.WriteString(c, "HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n")
		}},
		{BadStatus, func(c *net.TCPConn) { readRequest(c); io.WriteString(c, "this is not HTTP\r\n\r\n") }},
		{Timeout, func(c *net.TCPConn) { readRequest(c); io.Copy(io.Discard, c) }},
	} {
		t.Run(string(c.want), func(t *testing.T) {
			cfg := Config{Address: serveRaw(t, c.handle), Fresh: 100, KeepAlive: 100, Connections: 2, Timeout: 200 * time.Millisecond}
			s := runUntil(t, cfg, string(c.want), func(s Snapshot) bool {
				return s.Fresh.Lost[c.want] >= 5 && s.KeepAlive.Lost[c.want] >= 5
			})
			if s.Answered() != 0 || s.Lost() != s.Fresh.Lost[c.want]+s.KeepAlive.Lost[c.want] {
				t.Errorf("want %s alone:\n%v", c.want, s)
			}
			if s.Lost() != s.Fresh.Sent+s.KeepAlive.Sent {
				t.Errorf("%d lost of %d sent", s.Lost(), s.Fresh.Sent+s.KeepAlive.Sent)
			}
			if len(s.Errors) == 0 {
				t.Error("no loss in words")
			}
		})
	}
}

func TestRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	for _, address := range []string{ln.Addr().String(), "unix:" + filepath.Join(t.TempDir(), "none")} {
		s := runUntil(t, Config{Address: address, Fresh: 100, KeepAlive: 100}, "refused", func(s Snapshot) bool {
			return s.Fresh.Lost[Refused] >= 5 && s.KeepAlive.Lost[Refused] >= 5
		})
		if s.Lost() != s.Fresh.Lost[Refused]+s.KeepAlive.Lost[Refused] {
			t.Errorf("%s: want refused alone:\n%v", address, s)
		}
	}
}

// A connection closed between two requests costs none; an announced end neither.
func TestPoliteEndsAreNoLoss(t *testing.T) {
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n%s\r\ngen=7\n"
	once := func(header string) func(*net.TCPConn) {
		return func(c *net.TCPConn) {
			http.ReadRequest(bufio.NewReader(c))
			fmt.Fprintf(c, answer, header)
		}
	}
	// 20 requests a second on one connection: the FIN is there well before the next.
	cfg := Config{KeepAlive: 20, Connections: 1}
	cfg.Address = serveRaw(t, once(""))
	s := runUntil(t, cfg, "closed idle", func(s Snapshot) bool { return s.KeepAlive.IdleClosed >= 5 })
	if s.Lost() != 0 || s.KeepAlive.Announced != 0 {
		t.Errorf("closed idle:\n%v", s)
	}
	cfg.Address = serveRaw(t, once("Connection: close\r\n"))
	s = runUntil(t, cfg, "announced", func(s Snapshot) bool { return s.KeepAlive.Announced >= 5 })
	if s.Lost() != 0 || s.KeepAlive.IdleClosed != 0 {
		t.Errorf("announced:\n%v", s)
	}
}

// A stalled server is charged for all that was due meanwhile.
func TestOpenLoop(t *testing.T) {
	var stalled sync.Mutex
	addr := serveHTTP(t, "tcp", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stalled.Lock()
		defer stalled.Unlock()
		seven(w, r)
	}))
	l := Run(t.Context(), Config{Address: addr, Fresh: 200, KeepAlive: 200, Connections: 2})
	awaitAnswers := func(n int64) {
		for deadline := time.Now().Add(20 * time.Second); l.Snapshot().Answered() < n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("no answers")
			}
		}
	}
	awaitAnswers(50)
	stalled.Lock()
	time.Sleep(300 * time.Millisecond)
	stalled.Unlock()
	awaitAnswers(l.Snapshot().Answered() + 300)
	s := l.Stop()
	for name, side := range map[string]Side{"fresh": s.Fresh, "keep-alive": s.KeepAlive} {
		if side.LongestGap < 290*time.Millisecond || side.Latency.P99 < 200*time.Millisecond {
			t.Errorf("%s: gap %v, p99 %v: a stall of 300 ms went unnoticed", name, side.LongestGap, side.Latency.P99)
		}
	}
	if s.Lost() != 0 {
		t.Errorf("lost:\n%v", s)
	}
}

// What all are waiting for holds up all; a request that is stuck is told apart by those
// that came later.
func TestOvertaken(t *testing.T) {
	const others = 40
	var (
		asked         atomic.Int64
		mu            sync.Mutex
		stuck, newest time.Time // when it was due, and the last of those that it waited for
		overtook      int
		release       = make(chan struct{})
	)
	cfg := Config{Fresh: 200, OnAnswer: func(a Answer) {
		mu.Lock()
		defer mu.Unlock()
		if a.Generation == "8" {
			stuck = a.Due
			return
		}
		if overtook++; overtook <= others {
			newest = latest(newest, a.Due)
		}
		if overtook == others {
			close(release)
		}
	}}
	cfg.Address = serveHTTP(t, "tcp", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 {
			seven(w, r)
			return
		}
		<-release
		io.WriteString(w, "gen=8 version=v1 pid=1\n")
	}))
	s := runUntil(t, cfg, "answers", func(s Snapshot) bool { return s.Generations["8"].Answers > 0 })
	if want := newest.Sub(stuck); s.Overtaken < want || s.Lost() != 0 {
		t.Errorf("one request waited for %d others, overtaken by %v, want at least %v\n%v", others, s.Overtaken, want, s)
	}
}

func TestEndOfContextEndsTheLoad(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l := Run(ctx, Config{Address: serveHTTP(t, "tcp", "127.0.0.1:0", seven), Fresh: 100, KeepAlive: 100})
	cancel()
	l.running.Wait()
	s := l.Stop()
	if s.Fresh.Sent != s.Fresh.Answered || s.KeepAlive.Sent != s.KeepAlive.Answered {
		t.Errorf("requests under way were dropped:\n%v", s)
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for i := 1; i <= 100_000; i++ {
		h.add(time.Duration(i) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond, 1: 100 * time.Millisecond} {
		got := h.quantile(q)
		if got < want || got > want*104/100 {
			t.Errorf("quantile %v: %v, want %v to 4 %% more", q, got, want)
		}
	}
	for us := uint64(0); us < 1<<20; us++ {
		if b := bucketOf(us); upperOf(b) < us || b > 0 && upperOf(b-1) >= us {
			t.Fatalf("%d is in bucket %d, which ends at %d", us, b, upperOf(b))
		}
	}
	h.add(1<<63 - 1)
	h.add(-1)
	if h.max != 1<<63-1 {
		t.Errorf("max %v", h.max)
	}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err   error
		began bool
		want  Loss
	}{
		{syscall.ECONNREFUSED, false, Refused},
		{&net.OpError{Op: "dial", Err: syscall.EAGAIN}, false, Refused},
		{syscall.ECONNRESET, false, Reset},
		{syscall.ECONNRESET, true, Truncated},
		{syscall.EPIPE, false, Reset},
		{context.DeadlineExceeded, false, Timeout},
		{syscall.EMFILE, false, Local},
		{errors.New("odd"), false, Local},
	} {
		if got := classify(c.err, c.began); got != c.want {
			t.Errorf("%v, begun %v: %s, want %s", c.err, c.began, got, c.want)
		}
	}
}

func TestGenerationOf(t *testing.T) {
	for _, c := range []struct{ header, body, want string }{
		{"8", "gen=7", "8"},
		{"", "gen=7 version=v1", "7"},
		{"", "x gen=7", "7"},
		{"", "nothing", ""},
	} {
		h := http.Header{}
		if c.header != "" {
			h.Set("X-Generation", c.header)
		}
		if got := generationOf(h, c.body); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestTarget(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:80": "tcp 127.0.0.1:80", "unix:/run/s": "unix /run/s", "unix:///run/s": "unix /run/s", "/run/s": "unix /run/s",
	} {
		n, a := Config{Address: in}.target()
		if got := strings.Join([]string{n, a}, " "); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
