package gracefleet

import (
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStatusTellsWhatIsLeft(t *testing.T) {
	svc := start(t, Options{})
	addr := &net.UnixAddr{Net: "unixgram", Name: filepath.Join(t.TempDir(), "n")}
	parent, err := net.ListenUnixgram("unixgram", addr)
	must(t, err)
	defer parent.Close()
	svc.notify = notifier{path: addr.Name}
	hear := func() string {
		t.Helper()
		b := make([]byte, 1024)
		parent.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := parent.Read(b)
		must(t, err)
		return string(b[:n])
	}

	first, second, job := svc.Track("ws"), svc.Track("ws"), svc.Track("job")
	svc.Drain()
	if got, want := hear(), "STOPPING=1\nSTATUS=draining: 1 job, 2 ws"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	began := time.Now()
	first()
	first() // does nothing
	job()
	if got, want := hear(), "STATUS=draining: 1 ws"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	if d := time.Since(began); d < statusInterval/2 {
		t.Errorf("told again after %v, want at most one message a second", d)
	}
	second()
	if err := svc.Wait(); err != nil {
		t.Error(err)
	}
}

func TestAcceptLoopOfOnesOwn(t *testing.T) {
	svc := start(t, Options{})
	ln, err := svc.Listen("line", "tcp", "127.0.0.1:0")
	must(t, err)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				ended <- err
				return
			}
			done := svc.Track("line")
			go func() {
				defer done()
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	var conns []net.Conn
	for range 50 {
		c, err := net.Dial("tcp", ln.Addr().String())
		must(t, err)
		defer c.Close()
		conns = append(conns, c)
	}
	svc.Drain() // some of them still in the queue
	for i, c := range conns {
		io.WriteString(c, "x")
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		c.Close()
	}
	if err := svc.Wait(); err != nil {
		t.Error(err)
	}
	if err := within(t, 5*time.Second, "Accept", ended); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v, want net.ErrClosed", err)
	}
}

func TestReadySaysThatNobodyHears(t *testing.T) {
	svc := start(t, Options{})
	svc.notify = notifier{path: filepath.Join(t.TempDir(), "none")}
	if err := svc.Ready(); err == nil || !strings.Contains(err.Error(), "tell the parent") {
		t.Errorf("Ready: %v", err)
	}
}

func TestDrainWithoutAnyWork(t *testing.T) {
	svc := start(t, Options{})
	ln, err := svc.Listen("unused", "tcp", "127.0.0.1:0")
	must(t, err)
	svc.Drain()
	svc.Drain()
	if err := svc.Wait(); err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		c.Close()
		t.Error("a socket of its own still listens")
	}
}

// A parent shuts the socket of a service that stops: what was accepted is
// answered all the same.
func TestListenerThatIsShutBeginsTheDrain(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	svc, addr, served := serve(t, Options{}, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-finish
		io.WriteString(w, "whole")
	})})
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + addr)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	within(t, 10*time.Second, "the request", begun)
	raw, err := svc.listeners[0].SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_RD) }))
	must(t, err)
	within(t, 10*time.Second, "the drain", svc.Draining())
	close(finish)
	if got := within(t, 10*time.Second, "the answer", answer); got != "whole" {
		t.Errorf("the request under way got %q", got)
	}
	drained(t, svc, served)
}
