//go:build linux

package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gracefleet/gracefleet/e2e/harness"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

// depot is a file server of a pipeline, with TLS and ranges.
type depot struct {
	t   *testing.T
	ca  *certstest.CA
	dir string
	url string

	mu     sync.Mutex
	asked  []string // paths and ranges
	served int64
}

// openDepot serves what put adds, as wrap wants it.
func openDepot(t *testing.T, wrap func(http.Handler) http.Handler) *depot {
	t.Helper()
	d := &depot{t: t, ca: certstest.NewCA(t), dir: t.TempDir()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.url = "https://" + l.Addr().String() + "/"
	files := http.FileServer(http.Dir(d.dir))
	if wrap != nil {
		files = wrap(files)
	}
	counted := http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		d.mu.Lock()
		d.asked = append(d.asked, in.URL.Path+" "+in.Header.Get("Range"))
		d.mu.Unlock()
		files.ServeHTTP(&counting{out, d}, in)
	})
	s := &http.Server{Handler: counted, TLSConfig: &tls.Config{Certificates: []tls.Certificate{d.ca.Agent("depot").Pair(t)}}}
	served := make(chan error, 1)
	go func() { served <- s.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		s.Close()
		<-served
	})
	return d
}

type counting struct {
	http.ResponseWriter
	of *depot
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.served += int64(n)
	return n, err
}

func (c *counting) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// requests are those that it had so far, and how many bytes it has answered with.
func (d *depot) requests() ([]string, int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked, d.served
}

// put adds a program, and returns where it is with what it has to be.
func (d *depot) put(version string) (url string, size int64) {
	d.t.Helper()
	program, err := os.ReadFile(harness.Program(d.t, "runtime", version))
	if err == nil {
		err = os.MkdirAll(filepath.Join(d.dir, "releases"), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(d.dir, "releases", "web-"+version), program, 0o644)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return fmt.Sprintf("%sreleases/web-%s?X-Amz-Signature=secret#sha256=%x", d.url, version, sha256.Sum256(program)), int64(len(program))
}

// config is a graced.yaml that lets the agent fetch from it.
func (d *depot) config(more string) string {
	d.t.Helper()
	path := filepath.Join(d.t.TempDir(), "graced.yaml")
	d.configure(path, "releases/", more)
	return path
}

func (d *depot) configure(path, below, more string) {
	d.t.Helper()
	text := fmt.Sprintf("fetch: {from: [%q], ca: %s}\n%s", d.url+below, d.ca.File(), more)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// first is the URL of what put has added.
func first(url string, _ int64) string { return url }

// as has the depot behave so.
func as(url, how string) string {
	return strings.Replace(url, "?", "?as="+how+"&", 1)
}

// stalling does something once so many bytes have gone.
type stalling struct {
	http.ResponseWriter
	left int
	then func()
}

func (s *stalling) Write(p []byte) (int, error) {
	if s.left -= len(p); s.left <= 0 {
		s.ResponseWriter.(*counting).ResponseWriter.(http.Flusher).Flush()
		s.then()
	}
	return s.ResponseWriter.Write(p)
}
