package gracefleet

import (
	"bufio"
	"io"
	"net"
	"net/http"
	goruntime "runtime"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/internal/needs"
)

func TestIdleConnectionIsLeftForLameDuck(t *testing.T) {
	const lameDuck = 200 * time.Millisecond
	svc, addr, served := serve(t, Options{LameDuck: lameDuck}, &http.Server{Handler: hello})
	c, err := net.Dial("tcp", addr)
	must(t, err)
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n")
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	must(t, err)
	io.Copy(io.Discard, resp.Body)
	begun := time.Now()
	svc.Drain()
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("the connection ended by %v, want EOF", err)
	}
	if d := time.Since(begun); d < lameDuck {
		t.Errorf("ended after %v, want %v at least", d, lameDuck)
	}
	drained(t, svc, served)
}

// net/http calls a connection idle while a request header is still coming in.
func TestRequestInPiecesIsNotCut(t *testing.T) {
	needs.That(t, goruntime.GOOS == "linux", "only Linux tells when bytes last arrived")
	svc, addr, served := serve(t, Options{LameDuck: 50 * time.Millisecond}, &http.Server{Handler: hello})
	c, err := net.Dial("tcp", addr)
	must(t, err)
	defer c.Close()
	svc.Drain()
	for _, piece := range []string{"GET / HTTP/1.1\r\n", "Host: ", "test\r\n", "X-Slow: ", "yes", "\r\n", "X-Slower: ", "y", "\r\n\r\n"} {
		if _, err := io.WriteString(c, piece); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Millisecond) // the client's pace
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusOK || !resp.Close {
		t.Fatalf("%v, %v; want 200 with Connection: close", resp, err)
	}
	c.Close()
	drained(t, svc, served)
}
