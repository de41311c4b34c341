package socket

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
)

// deferAccept keeps handshakes in SYN_RECV until the client sends a byte.
func deferAccept(t *testing.T, f *os.File) {
	t.Helper()
	if err := unix.SetsockoptInt(int(f.Fd()), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 30); err != nil {
		t.Fatal(err)
	}
}

func dial(t testing.TB, network, to string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestQuiesceWaitsForHandshakesThenTheQueue(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::"} {
		a := fresh(t, service.TCP, ip)
		old, successor := open(t, a, ""), open(t, a, "")
		deferAccept(t, old)
		attach(t, old, []steer.Slot{1, 2}, steer.All(1), a)
		var waiting []net.Conn
		for range 20 {
			waiting = append(waiting, dial(t, "tcp", local4(a)))
		}
		attach(t, old, []steer.Slot{1, 2}, steer.All(2), a)
		targets := []Target{{File: old, Address: a}}
		since, err := Handshakes(t.Context(), targets)
		if err != nil || len(since) != 20 {
			t.Fatalf("%s: %d handshakes under way, want 20: %v", a, len(since), err)
		}
		// One that belongs to the successor must not hold the old slot up.
		deferAccept(t, successor)
		dial(t, "tcp", local4(a))

		ctx := timeout(t, 20*time.Second)
		done := make(chan error, 1)
		go func() { done <- quiesceKnown(ctx, targets, since) }()
		for i, c := range waiting {
			pending(t, targets, since, 20)
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the handshake to end", func() bool { n, _, _ := Queue(old); return n == i+1 })
		}
		select {
		case err := <-done:
			t.Fatalf("%s: quiesced with a queue of 20: %v", a, err)
		default:
		}
		if n := accept(t, old); n != 20 {
			t.Errorf("%s: %d connections were queued on the old slot, want 20", a, n)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		pending(t, targets, since, 0)
		if n := accept(t, successor); n != 0 {
			t.Errorf("%s: %d connections went to the successor", a, n)
		}
	}
}

func pending(t *testing.T, targets []Target, since map[uint64]bool, want int) {
	t.Helper()
	n, err := Pending(t.Context(), targets, since)
	if err != nil || n != want {
		t.Fatalf("%d pending, want %d: %v", n, want, err)
	}
}

func TestQuiesceOfNothingIsQuick(t *testing.T) {
	a, u := fresh(t, service.TCP, "::1"), fresh(t, service.UDP, "127.0.0.1")
	targets := []Target{{open(t, a, ""), a}, {open(t, u, ""), u}}
	best := time.Hour
	for range 5 {
		start := time.Now()
		if err := Quiesce(t.Context(), targets); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	t.Logf("quiesce took %v", best)
	if best < settle || best > 50*time.Millisecond {
		t.Errorf("quiesce took %v", best)
	}
}

func TestQuiesceIsBoundedByTheContext(t *testing.T) {
	a := fresh(t, service.TCP, "127.0.0.1")
	f := open(t, a, "")
	touch(t, local4(a), 3)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := Quiesce(ctx, []Target{{f, a}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with 3 connections queued: %v", err)
	}
}

func TestQuiesceOfUDPAndUnix(t *testing.T) {
	dir := shortDir(t)
	u, x := fresh(t, service.UDP, "127.0.0.1"), service.Address{Network: service.Unix, Path: filepath.Join(dir, "s")}
	udp, stream := open(t, u, ""), open(t, x, "")
	if _, err := dial(t, "udp", local4(u)).Write([]byte("datagram")); err != nil {
		t.Fatal(err)
	}
	dial(t, "unix", x.Path)
	for _, f := range []*os.File{udp, stream} {
		if n, limit, err := Queue(f); n == 0 || limit == 0 || err != nil {
			t.Errorf("%s: queue %d of %d: %v", f.Name(), n, limit, err)
		}
	}
	done := make(chan error, 1)
	ctx := timeout(t, 10*time.Second)
	go func() { done <- Quiesce(ctx, []Target{{udp, u}, {stream, x}}) }()
	if n := accept(t, stream); n != 1 {
		t.Errorf("accepted %d", n)
	}
	select {
	case err := <-done:
		t.Fatal("quiesced with an unread datagram:", err)
	case <-time.After(50 * time.Millisecond):
	}
	buf := make([]byte, 64)
	if _, err := unix.Read(int(udp.Fd()), buf); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestQueueAndBacklog(t *testing.T) {
	a := fresh(t, service.TCP, "127.0.0.1")
	f := open(t, a, "")
	if err := listen.Listen(f, 100); err != nil { // as a program does
		t.Fatal(err)
	}
	touch(t, local4(a), 7)
	if n, limit, err := Queue(f); n != 7 || limit != 100 || err != nil {
		t.Errorf("queue %d of %d: %v", n, limit, err)
	}
	if err := RestoreBacklog(f, 4096); err != nil {
		t.Error(err)
	}
	if _, limit, _ := Queue(f); limit != 4096 {
		t.Errorf("backlog %d after the repair", limit)
	}
	if err := unix.Shutdown(int(f.Fd()), unix.SHUT_RD); err != nil {
		t.Fatal(err)
	}
	if n, limit, err := Queue(f); n != 0 || limit != 0 || err != nil {
		t.Errorf("after a shutdown the queue is %d of %d: %v", n, limit, err)
	}
	if RestoreBacklog(f, 10) == nil {
		t.Error("a socket that no longer listens was made to listen, at another index")
	}
}

func TestNonblocking(t *testing.T) {
	f := open(t, fresh(t, service.TCP, "127.0.0.1"), "")
	for _, want := range []bool{false, true} {
		if err := SetNonblocking(f, want); err != nil {
			t.Fatal(err)
		}
		if got, err := Nonblocking(f); got != want || err != nil {
			t.Errorf("nonblocking is %v, want %v: %v", got, want, err)
		}
	}
}

func TestWatchQueue(t *testing.T) {
	a := fresh(t, service.TCP, "127.0.0.1")
	x := service.Address{Network: service.Unix, Path: filepath.Join(shortDir(t), "s")}
	for _, c := range []struct {
		f           *os.File
		network, to string
	}{{open(t, a, ""), "tcp", local4(a)}, {open(t, x, ""), "unix", x.Path}} {
		dial(t, c.network, c.to)
		ctx, cancel := context.WithCancel(t.Context())
		found := make(chan struct{}, 100)
		done := make(chan error, 1)
		go func() { done <- WatchQueue(ctx, c.f, func() { found <- struct{}{} }) }()
		<-found // what was there before
		dial(t, c.network, c.to)
		<-found
		accept(t, c.f)
		dial(t, c.network, c.to)
		<-found
		select {
		case <-found:
			t.Errorf("%s: told twice of one connection", c.network)
		case <-time.After(50 * time.Millisecond):
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}
