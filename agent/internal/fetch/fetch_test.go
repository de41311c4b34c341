package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gracefleet/gracefleet/agent/internal/store"
	"github.com/gracefleet/gracefleet/internal/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const total = 1 << 20

// script is an executable.
func script() []byte { return append([]byte("#!/bin/sh\n#"), bytes.Repeat([]byte("x"), total-11)...) }

func digestOf(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

// world is a store, and a server that notes what it was asked.
type world struct {
	t       testing.TB
	store   *store.Store
	server  *httptest.Server
	ca      string
	fetcher *Fetcher

	mu    sync.Mutex
	asked []*http.Request
}

func newWorld(t testing.TB, answer http.HandlerFunc) *world {
	t.Helper()
	w := &world{t: t}
	var err error
	if w.store, err = store.Open(filepath.Join(t.TempDir(), "state"), store.Options{Reserve: -1}); err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		w.mu.Lock()
		w.asked = append(w.asked, in)
		w.mu.Unlock()
		answer(out, in)
	}))
	w.server.Config.ErrorLog = nil
	w.server.StartTLS()
	w.ca = filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: w.server.Certificate().Raw}
	if err := os.WriteFile(w.ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	w.fetcher = New(w.store, "v1", w.policy(w.server.URL+"/releases/"))
	t.Cleanup(func() {
		w.server.Close()
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) policy(from ...string) *Policy {
	w.t.Helper()
	p, err := NewPolicy(from, w.ca, false)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) requests() []*http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

func (w *world) order(digest string) Order {
	w.t.Helper()
	l, err := link.Parse(w.server.URL + "/releases/web?X-Amz-Signature=secret")
	if err != nil {
		w.t.Fatal(err)
	}
	return Order{Digest: digest, From: l, Options: store.UploadOptions{Name: "web"}}
}

func (w *world) fetch(o Order) (store.Artifact, error) {
	w.t.Helper()
	a, err := w.fetcher.Fetch(w.t.Context(), o, func(int64, int64) error { return nil })
	if err != nil && strings.Contains(err.Error(), "secret") {
		w.t.Errorf("the error tells the URL's query: %v", err)
	}
	return a, err
}

// held puts the first bytes of an upload into the store.
func (w *world) held(digest string, content []byte) {
	w.t.Helper()
	u, _, err := w.store.BeginUpload(digest, total, store.UploadOptions{Name: "web"})
	if err == nil {
		_, err = u.Write(content)
	}
	if err := errors.Join(err, u.Close()); err != nil {
		w.t.Fatal(err)
	}
}

// serve answers as a file server does, with ranges.
func serve(content []byte) http.HandlerFunc {
	return func(out http.ResponseWriter, in *http.Request) {
		out.Header().Set("ETag", `"1"`)
		http.ServeContent(out, in, "web", time.Time{}, bytes.NewReader(content))
	}
}

func TestFetch(t *testing.T) {
	w := newWorld(t, serve(script()))
	var last, size int64
	a, err := w.fetcher.Fetch(t.Context(), w.order(digestOf(script())), func(c, s int64) error {
		if c < last {
			t.Errorf("from %d back to %d", last, c)
		}
		last, size = c, s
		return nil
	})
	if err != nil || a.Size != total || last != total || size != total || a.Name != "web" {
		t.Fatalf("%+v, %d of %d, %v", a, last, size, err)
	}
	asked := w.requests()
	if len(asked) != 1 || asked[0].Header.Get("Range") != "" || asked[0].URL.RawQuery != "X-Amz-Signature=secret" || asked[0].UserAgent() != "gracefleet/v1" {
		t.Errorf("asked %v", asked)
	}
	// What is held is not asked for, not even where nothing may be fetched any more.
	w.fetcher.SetPolicy(&Policy{})
	o := w.order(a.Digest)
	o.Options.Labels = map[string]string{"commit": "abc"}
	if again, err := w.fetch(o); err != nil || again.Labels["commit"] != "abc" || len(w.requests()) != 1 {
		t.Errorf("%+v, %v, %d requests", again, err, len(w.requests()))
	}
}

func TestFetchGoesOn(t *testing.T) {
	content := script()
	w := newWorld(t, serve(content))
	w.held(digestOf(content), content[:300_000])
	if _, err := w.fetch(w.order(digestOf(content))); err != nil {
		t.Fatal(err)
	}
	if asked := w.requests(); len(asked) != 1 || asked[0].Header.Get("Range") != "bytes=300000-" {
		t.Errorf("asked for %v", asked)
	}
}

// An agent that was killed between the last byte and the end needs nobody.
func TestFetchOfWhatIsThere(t *testing.T) {
	content := script()
	w := newWorld(t, serve(content))
	w.held(digestOf(content), content)
	if a, err := w.fetch(w.order(digestOf(content))); err != nil || a.Size != total || len(w.requests()) > 0 {
		t.Errorf("%+v, %v, %d requests", a, err, len(w.requests()))
	}
}

func TestFetchOverBadConnections(t *testing.T) {
	content := script()
	w := newWorld(t, func(out http.ResponseWriter, in *http.Request) {
		serve(content)(&dropping{out, 200_000}, in)
	})
	if _, err := w.fetch(w.order(digestOf(content))); err != nil {
		t.Fatal(err)
	}
	asked := w.requests()
	if len(asked) != 6 || asked[5].Header.Get("If-Range") != `"1"` {
		t.Errorf("%d requests", len(asked))
	}
}

// dropping ends the connection after so many bytes.
type dropping struct {
	http.ResponseWriter
	left int
}

func (d *dropping) Write(p []byte) (int, error) {
	if len(p) > d.left {
		_, _ = d.ResponseWriter.Write(p[:d.left])
		d.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	d.left -= len(p)
	return d.ResponseWriter.Write(p)
}

func TestFetchWithoutRanges(t *testing.T) {
	content := script()
	w := newWorld(t, func(out http.ResponseWriter, in *http.Request) {
		in.Header.Del("Range")
		serve(content)(out, in)
	})
	w.held(digestOf(content), content[:300_000])
	if _, err := w.fetch(w.order(digestOf(content))); err != nil {
		t.Fatal(err)
	}
}

// Wrong bytes that somebody has sent before do not stand in the way of the right
// ones, whether they are fewer, as many or more.
func TestFetchOverWrongBytes(t *testing.T) {
	right := script()
	for _, n := range []int{1000, total - 1, total} {
		w := newWorld(t, serve(right))
		w.held(digestOf(right), bytes.Repeat([]byte("y"), n))
		if a, err := w.fetch(w.order(digestOf(right))); err != nil || a.Size != total {
			t.Errorf("%d wrong bytes: %v", n, err)
		}
	}
	// All of what somebody has said that it is, under another name and of another size.
	w := newWorld(t, serve(right))
	u, _, err := w.store.BeginUpload(digestOf(right), 100, store.UploadOptions{Name: "other"})
	if err == nil {
		_, err = u.Write(bytes.Repeat([]byte("y"), 100))
	}
	if err := errors.Join(err, u.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.fetch(w.order(digestOf(right))); err != nil {
		t.Errorf("as many as there were to be: %v", err)
	}
	short := []byte("#!/bin/sh\n")
	w = newWorld(t, serve(short))
	w.held(digestOf(short), bytes.Repeat([]byte("y"), 1000))
	if _, err := w.fetch(w.order(digestOf(short))); err != nil {
		t.Errorf("more wrong bytes than there are: %v", err)
	}
}

func TestFetchThatFails(t *testing.T) {
	content := script()
	status := func(code int) http.HandlerFunc {
		return func(out http.ResponseWriter, _ *http.Request) { http.Error(out, "secret", code) }
	}
	partial := func(header string) http.HandlerFunc {
		return func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Range", header)
			out.WriteHeader(http.StatusPartialContent)
		}
	}
	other := bytes.Repeat([]byte("z"), total)
	for name, row := range map[string]struct {
		answer http.HandlerFunc
		is     error
		words  string
		asked  int
	}{
		"not there":         {status(404), ErrNotThere, "404 Not Found", 1},
		"gone":              {status(410), ErrNotThere, "410 Gone", 1},
		"expired":           {status(403), ErrUnusable, "signature has expired", 1},
		"no answer of ours": {status(204), ErrUnusable, "204", 1},
		"overloaded":        {status(503), ErrPassing, "503", maxFailures},
		"too many":          {status(429), ErrPassing, "429", maxFailures},
		"hangs up":          {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ErrPassing, "EOF", maxFailures},
		"other bytes":       {serve(other), store.ErrDigestMismatch, "web", 1},
		"a strange range":   {partial("bytes 5-4/1"), ErrUnusable, "bytes 5-4/1", 1},
		"a later range":     {partial("bytes 5-9/10"), ErrUnusable, "from 5 on", 1},
		"a range of what":   {partial("bytes 0-9/*"), ErrUnusable, "/*", 1},
		"of no size": {func(out http.ResponseWriter, _ *http.Request) {
			out.(http.Flusher).Flush()
			_, _ = out.Write(content)
		}, ErrUnusable, "does not say how large", 1},
		"empty": {func(http.ResponseWriter, *http.Request) {}, store.ErrEmpty, "web", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, row.answer)
			_, err := w.fetch(w.order(digestOf(content)))
			if !errors.Is(err, row.is) || !strings.Contains(err.Error(), row.words) || !strings.Contains(err.Error(), w.server.URL+"/releases/web") {
				t.Errorf("%v", err)
			}
			if n := len(w.requests()); n != row.asked {
				t.Errorf("%d requests, want %d", n, row.asked)
			}
		})
	}
}

func TestFetchOfAnotherSize(t *testing.T) {
	content := script()
	w := newWorld(t, serve(content))
	o := w.order(digestOf(content))
	o.Size = total + 1
	if _, err := w.fetch(o); !errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), "1048576 bytes, and not 1048577") {
		t.Errorf("%v", err)
	}
	o.Size = total
	if _, err := w.fetch(o); err != nil {
		t.Error(err)
	}
}

// newSilentWorld has a server that says nothing more after 500,000 bytes. Who asks for
// what follows gets it.
func newSilentWorld(t *testing.T, content []byte) *world {
	t.Helper()
	over := make(chan struct{})
	w := newWorld(t, func(out http.ResponseWriter, in *http.Request) {
		if in.Header.Get("Range") != "" {
			serve(content)(out, in)
			return
		}
		out.Header().Set("Content-Length", fmt.Sprint(total))
		_, _ = out.Write(content[:500_000])
		out.(http.Flusher).Flush()
		<-over
	})
	t.Cleanup(func() { close(over) })
	return w
}

func TestSilence(t *testing.T) {
	content := script()
	w := newSilentWorld(t, content)
	w.fetcher.patience = 2 * time.Second
	if _, err := w.fetch(w.order(digestOf(content))); err != nil {
		t.Fatal(err)
	}
	if asked := w.requests(); len(asked) != 2 || asked[1].Header.Get("Range") != "bytes=500000-" {
		t.Errorf("%d requests", len(asked))
	}
}

func TestSilenceBeforeTheHeaders(t *testing.T) {
	over := make(chan struct{})
	w := newWorld(t, func(http.ResponseWriter, *http.Request) { <-over })
	defer close(over)
	w.fetcher.patience = 50 * time.Millisecond
	if _, err := w.fetch(w.order(digestOf(script()))); !errors.Is(err, ErrPassing) || !strings.Contains(err.Error(), "said nothing") {
		t.Errorf("%v", err)
	}
}

// What came before a fetch was given up stays for the next one.
func TestFetchIsGivenUp(t *testing.T) {
	content := script()
	w := newSilentWorld(t, content)
	why := errors.New("the caller has gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := w.fetcher.Fetch(ctx, w.order(digestOf(content)), func(committed, _ int64) error {
		if committed == 500_000 {
			cancel(why)
		}
		return nil
	})
	if !errors.Is(err, why) {
		t.Fatalf("%v", err)
	}
	if st, err := w.store.UploadStatus(digestOf(content)); err != nil || st.Committed != 500_000 {
		t.Fatalf("%+v, %v", st, err)
	}
	if _, err := w.fetch(w.order(digestOf(content))); err != nil {
		t.Fatal(err)
	}
}

func TestTwoFetchesOfOne(t *testing.T) {
	content := script()
	w := newWorld(t, serve(content))
	u, _, err := w.store.BeginUpload(digestOf(content), total, store.UploadOptions{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.fetch(w.order(digestOf(content))); !errors.Is(err, store.ErrBusy) {
		t.Errorf("%v", err)
	}
	if err := u.Close(); err != nil {
		t.Error(err)
	}
}

func TestRedirects(t *testing.T) {
	content := script()
	var w *world
	w = newWorld(t, func(out http.ResponseWriter, in *http.Request) {
		to := map[string]string{
			"/releases/web":      "moved?secret=2",
			"/releases/moved":    "/releases/there/web",
			"/releases/loop":     "/releases/loop",
			"/releases/out":      "https://127.0.0.2/releases/web?secret=3",
			"/releases/up":       "/other/web?secret=3",
			"/releases/plain":    "http" + strings.TrimPrefix(w.server.URL, "https") + "/releases/there/web?secret=3",
			"/releases/nowhere":  "%zz?secret=3",
			"/releases/silently": "",
		}
		if at, ok := to[in.URL.Path]; ok {
			out.Header().Set("Location", at)
			out.WriteHeader(http.StatusFound)
			return
		}
		serve(content)(out, in)
	})
	for name, words := range map[string]string{
		"loop": "more than 5 redirects", "out": "it redirects to https://127.0.0.2/releases/web: not allowed on this host", "up": "not allowed",
		"plain": "no https", "nowhere": "is no URL", "silently": "more than 5",
	} {
		o := w.order(digestOf(content))
		o.From, _ = link.Parse(w.server.URL + "/releases/" + name)
		if _, err := w.fetch(o); err == nil || !strings.Contains(err.Error(), words) || errors.Is(err, ErrPassing) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.held(digestOf(content), content[:300_000])
	if _, err := w.fetch(w.order(digestOf(content))); err != nil {
		t.Fatal(err)
	}
	asked := w.requests()
	last := asked[len(asked)-1]
	if last.URL.Path != "/releases/there/web" || last.Header.Get("Referer") != "" || last.Header.Get("Range") != "bytes=300000-" {
		t.Errorf("%s with %v", last.URL, last.Header)
	}
}

// BenchmarkFetch fetches 100 MiB over TLS on loopback, verified and synced.
func BenchmarkFetch(b *testing.B) {
	content := append([]byte("#!/bin/sh\n#"), bytes.Repeat([]byte("x"), 100<<20)...)
	w := newWorld(b, func(out http.ResponseWriter, in *http.Request) { serve(content)(out, in) })
	b.SetBytes(int64(len(content)))
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		copy(content[11:], fmt.Sprintf("%08d", i))
		o := w.order(digestOf(content))
		b.StartTimer()
		if _, err := w.fetch(o); err != nil {
			b.Fatal(err)
		}
	}
}
