package socket

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

func TestAccepted(t *testing.T) {
	dir := shortDir(t)
	for _, c := range []struct {
		a       service.Address
		private string
	}{
		{a: fresh(t, service.TCP, "0.0.0.0")},
		{a: fresh(t, service.TCP, "::")},
		{a: fresh(t, service.TCP, "::1")},
		{service.Address{Network: service.Unix, Path: filepath.Join(dir, "public")}, filepath.Join(dir, "1")},
	} {
		f := open(t, c.a, c.private)
		d, err := NewProbeDialer(c.a, c.private)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		probe := func() net.Conn {
			if _, err := d.Prepare(1); err != nil {
				t.Fatal(err)
			}
			conn, err := d.Dial(timeout(t, 5*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		conn := probe()
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := Accepted(short, conn, f); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: nobody accepted, but: %v", c.a, err)
		}
		cancel()
		done := make(chan error, 1)
		go func() { done <- Accepted(timeout(t, 5*time.Second), conn, f) }()
		fd, _, err := unix.Accept(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("%s: %v", c.a, err)
		}
		unix.Close(fd)

		conn = probe() // accepted and closed at once is accepted too
		accept(t, f)
		if err := Accepted(timeout(t, 5*time.Second), conn, f); err != nil {
			t.Errorf("%s: closed at once: %v", c.a, err)
		}
	}
}

func TestAcceptedTellsAReset(t *testing.T) {
	a := fresh(t, service.TCP, "127.0.0.1")
	f := open(t, a, "")
	conn := dial(t, "tcp", local4(a))
	if err := unix.Shutdown(int(f.Fd()), unix.SHUT_RD); err != nil {
		t.Fatal(err)
	}
	if err := Accepted(timeout(t, 5*time.Second), conn, f); !errors.Is(err, ErrReset) {
		t.Errorf("after the listener was shut down: %v", err)
	}
}
