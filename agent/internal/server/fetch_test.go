package server

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/agent/internal/fetch"
	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/chain"
)

// fetching gives a host a fetcher, and a server from which it may fetch.
func (h *host) fetching(t *testing.T, answer http.HandlerFunc) (prefix string) {
	t.Helper()
	s := httptest.NewTLSServer(answer)
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := fetch.NewPolicy([]string{s.URL + "/releases/"}, ca, false)
	if err != nil {
		t.Fatal(err)
	}
	h.server.fetcher.(*fetch.Fetcher).SetPolicy(p)
	return s.URL + "/releases/"
}

// fetch asks for an artifact, and returns all that was answered.
func (h *host) fetch(ctx context.Context, r *pb.FetchArtifactRequest) (answers []*pb.FetchArtifactResponse, err error) {
	stream, err := h.artifacts().FetchArtifact(ctx, r)
	for err == nil {
		var m *pb.FetchArtifactResponse
		if m, err = stream.Recv(); err == nil {
			answers = append(answers, m)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return answers, err
}

func fetchOf(content []byte, url string) *pb.FetchArtifactRequest {
	return &pb.FetchArtifactRequest{
		Digest: digestOf(content), Version: "v1", Labels: map[string]string{"commit": "abc"},
		Source: &pb.FetchArtifactRequest_Url{Url: url + "?X-Amz-Signature=secret"},
	}
}

func TestFetchArtifact(t *testing.T) {
	h := newHost(t)
	content := script(1 << 20)
	prefix := h.fetching(t, func(out http.ResponseWriter, in *http.Request) {
		http.ServeContent(out, in, "", time.Time{}, bytes.NewReader(content))
	})
	before := h.audit.Head().Seq
	answers, err := h.fetch(limited(t), fetchOf(content, prefix+"web"))
	if err != nil {
		t.Fatal(err)
	}
	first, last := answers[0], answers[len(answers)-1]
	if first.GetCommittedBytes() != 0 || first.GetSizeBytes() != 1<<20 || last.GetCommittedBytes() != 1<<20 {
		t.Errorf("answered %v", answers)
	}
	if a := last.GetArtifact(); a.GetDigest() != digestOf(content) || a.GetVersion() != "v1" || a.GetFileName() != "web" || a.GetLabels()["commit"] != "abc" {
		t.Errorf("fetched %v", a)
	}
	lines := h.since(t, before)
	if len(lines) != 1 || lines[0].Decision != chain.Allowed || lines[0].Detail["url"] != prefix+"web" {
		t.Errorf("recorded %+v", lines)
	}
	if again, err := h.fetch(limited(t), fetchOf(content, prefix+"web")); err != nil || again[0].GetCommittedBytes() != 1<<20 {
		t.Errorf("of what is there: %v, %v", again, err)
	}
}

// What is refused is in the record as such, and nothing tells what may be secret.
func TestRefusedFetches(t *testing.T) {
	h := newHost(t)
	content := script(1000)
	before := h.audit.Head().Seq
	_, err := h.fetch(limited(t), fetchOf(content, "https://artifacts.example.org/releases/web"))
	e := wantError(t, err, codes.FailedPrecondition, pb.Reason_REASON_FETCH_FAILED)
	if !strings.Contains(e.Message, `fetch: {from: ["https://artifacts.example.org/releases/"]}`) {
		t.Errorf("it says %s", e.Message)
	}
	prefix := h.fetching(t, func(out http.ResponseWriter, in *http.Request) {
		if in.URL.Path == "/releases/out" {
			http.Redirect(out, in, "https://10.0.0.1/latest/meta-data?secret", http.StatusFound)
			return
		}
		http.Error(out, "secret", map[string]int{"/releases/busy": 503, "/releases/lost": 404, "/releases/shut": 403}[in.URL.Path])
	})
	for path, code := range map[string]codes.Code{
		"out": codes.FailedPrecondition, "busy": codes.Unavailable, "lost": codes.NotFound, "shut": codes.FailedPrecondition,
	} {
		_, err := h.fetch(limited(t), fetchOf(content, prefix+path))
		if e := wantError(t, err, code, pb.Reason_REASON_FETCH_FAILED); !strings.Contains(e.Message, prefix+path) || strings.Contains(e.Message, "secret") {
			t.Errorf("%s: %s", path, e.Message)
		}
	}
	var denied int
	for _, line := range h.since(t, before) {
		if text := fmt.Sprint(line); strings.Contains(text, "secret") {
			t.Errorf("recorded %s", text)
		}
		if line.Decision == chain.Denied {
			denied++
		}
	}
	if denied != 2 {
		t.Errorf("%d refusals are recorded, of two", denied)
	}
}

func TestBadFetches(t *testing.T) {
	h := newHost(t)
	for field, change := range map[string]func(*pb.FetchArtifactRequest){
		"digest":     func(r *pb.FetchArtifactRequest) { r.Digest = "md5:x" },
		"size_bytes": func(r *pb.FetchArtifactRequest) { r.SizeBytes = -1 },
		"tree":       func(r *pb.FetchArtifactRequest) { r.Data, r.Tree = true, true },
		"file_name":  func(r *pb.FetchArtifactRequest) { r.FileName = strings.Repeat("x", 1000) },
		"labels.gracefleet.version": func(r *pb.FetchArtifactRequest) {
			r.Labels = map[string]string{"gracefleet.version": "x"}
		},
		"url": func(r *pb.FetchArtifactRequest) { r.Source = nil },
	} {
		r := fetchOf(script(1000), "https://h/web")
		change(r)
		_, err := h.fetch(limited(t), r)
		wantViolation(t, err, field)
	}
	for _, url := range []string{"http://h/web", "https://u:secret@h/web", "https://h/../web?secret", "https://h/%zz?secret", "secret", "https://h/w\xffb"} {
		r := fetchOf(script(1000), "")
		r.Source = &pb.FetchArtifactRequest_Url{Url: url}
		before := h.audit.Head().Seq
		_, err := h.fetch(limited(t), r)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
		if text := fmt.Sprint(h.since(t, before)); strings.Contains(text, "secret") {
			t.Errorf("recorded %s", text)
		}
	}
}

// A fetch is one of its caller's uploads, and ends with its call.
func TestFetchEndsWithItsCall(t *testing.T) {
	h := newHost(t)
	content := script(1 << 20)
	over := make(chan struct{})
	prefix := h.fetching(t, func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = out.Write(content[:500_000])
		out.(http.Flusher).Flush()
		<-over
	})
	defer close(over)
	ctx, cancel := context.WithCancel(limited(t))
	ended := make(chan error, 1)
	go func() {
		_, err := h.fetch(ctx, fetchOf(content, prefix+"web"))
		ended <- err
	}()
	waitFor(t, func() bool { return h.held(t, digestOf(content)).GetCommittedBytes() == 500_000 })
	_, err := h.upload(t, header(content, 0), content)
	wantError(t, err, codes.Aborted, pb.Reason_REASON_UPLOAD_BUSY)
	_, err = h.fetch(limited(t), fetchOf(content, prefix+"web"))
	wantError(t, err, codes.Aborted, pb.Reason_REASON_UPLOAD_BUSY)
	cancel()
	if err := <-ended; api.FromStatus(err).Code != codes.Canceled {
		t.Errorf("%v", err)
	}
	waitFor(t, func() bool {
		_, err := h.upload(t, header(content, 500_000), content[500_000:])
		if err != nil && api.ReasonOf(err) != pb.Reason_REASON_UPLOAD_BUSY {
			t.Fatal(err)
		}
		return err == nil
	})
}
