//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// An upgrade to what the agent fetches itself, and what nobody gets to see of it.
func TestUpgradeFromAURL(t *testing.T) {
	d := openDepot(t, nil)
	config := d.config("")
	s := start(t, "runtime", signalDrain, "--config", config)
	l := s.load(rate()/2, rate()/2, nil)
	answered(t, l, 50)
	url, size := d.put("v2")
	dry := s.Ctl(t, "upgrade", "web", url, "--dry-run")
	if asked, _ := d.requests(); dry.Code != 3 || len(asked) > 0 {
		t.Errorf("a dry run asked for %v: %v", asked, dry)
	}
	r := s.Ctl(t, "upgrade", "web", url)
	if r.Code != 0 || !strings.Contains(r.Stderr, "fetched web-v2") {
		t.Fatal(r)
	}
	s.await(2, pb.Generation_STATE_ACTIVE)
	answered(t, l, 50)
	if asked, served := d.requests(); len(asked) != 1 || served != size {
		t.Errorf("%d bytes of %d were served: %v", served, size, asked)
	}
	// What the host holds is not fetched again.
	again := s.Ctl(t, "push", url)
	if asked, _ := d.requests(); again.Code != 0 || len(asked) != 1 {
		t.Errorf("asked for %v: %v", asked, again)
	}
	yaml := strings.Replace(s.yaml("v1"), harness.Program(t, "runtime", "v1"), first(d.put("v3")), 1)
	s.CtlOK(t, "upgrade", "-f", s.Spec(t, yaml))
	s.await(3, pb.Generation_STATE_ACTIVE)
	answered(t, l, 50)

	// What may be fetched changes with the file.
	d.configure(config, "elsewhere/", "")
	v4 := first(d.put("v4"))
	awaitText(t, s.Log, "what may be fetched was read anew")
	refused := s.Ctl(t, "push", v4)
	if refused.Code != 1 || !strings.Contains(refused.Stderr, "not allowed on this host") || !strings.Contains(refused.Stderr, `adds "`+d.url+`releases/" to fetch.from of graced.yaml`) {
		t.Errorf("elsewhere: %v", refused)
	}
	for what, text := range map[string]string{
		"the log": s.Log(), "history": s.CtlOK(t, "history", "web", "-o", "json"), "the record": s.CtlOK(t, "audit", "-o", "json"),
		"gracectl": fmt.Sprint(dry.Stderr, r.Stdout, r.Stderr, again.Stderr, refused.Stderr),
	} {
		if strings.Contains(text, "secret") {
			t.Errorf("%s tells the URL's query:\n%s", what, text)
		}
	}
	if record := s.CtlOK(t, "audit", "-o", "json"); !strings.Contains(record, d.url+"releases/web-v4") || !strings.Contains(record, "FetchArtifact") {
		t.Errorf("the record does not tell what was fetched:\n%s", record)
	}
	unharmed(t, l)
}

// An agent that is killed while it fetches goes on where it ended.
func TestKilledWhileItFetches(t *testing.T) {
	reached, held := make(chan struct{}), make(chan struct{})
	var stalled atomic.Bool
	d := openDepot(t, func(files http.Handler) http.Handler {
		return http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
			files.ServeHTTP(&stalling{out, 1 << 20, func() {
				if stalled.CompareAndSwap(false, true) {
					close(reached)
					<-held
				}
			}}, in)
		})
	})
	defer close(held)
	a := harness.Start(t, "--config", d.config(""))
	url, size := d.put("v2")
	done := make(chan harness.Result, 1)
	go func() { done <- a.Ctl(t, "push", url) }()
	<-reached
	_, hex, _ := strings.Cut(url, "#sha256=")
	eventually(t, "the agent has what was sent", func() bool {
		st, err := pb.NewArtifactServiceClient(a.Client(t)).GetUploadStatus(t.Context(), &pb.GetUploadStatusRequest{Digest: "sha256:" + hex})
		return err == nil && st.GetCommittedBytes() > 512<<10
	})
	a.Kill9(t)
	interrupted := <-done
	if interrupted.Code != 1 || !strings.Contains(interrupted.Stderr, "goes on where it ended") || strings.Contains(interrupted.Stderr, "secret") {
		t.Errorf("a fetch whose agent is killed: %v", interrupted)
	}
	a.Restart(t)
	a.CtlOK(t, "push", url)
	asked, served := d.requests()
	if len(asked) != 2 || !strings.HasPrefix(asked[1], "/releases/web-v2 bytes=") || served > size+1<<20 {
		t.Errorf("%d bytes of %d were served for %v", served, size, asked)
	}
	t.Logf("%d bytes of %d were served for %q", served, size, asked)
}

func TestBadDepots(t *testing.T) {
	elsewhere := openDepot(t, nil)
	elsewhere.put("v2")
	d := openDepot(t, func(files http.Handler) http.Handler {
		return http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
			switch in.URL.Query().Get("as") {
			case "moved":
				http.Redirect(out, in, elsewhere.url+"releases/web-v2?secret", http.StatusFound)
			case "broken":
				files.ServeHTTP(&stalling{out, 1 << 20, func() { panic(http.ErrAbortHandler) }}, in)
			case "down":
				http.Error(out, "secret", http.StatusServiceUnavailable)
			default:
				files.ServeHTTP(out, in)
			}
		})
	})
	a := harness.Start(t, "--config", d.config(""))
	url, size := d.put("v2")
	lie, _, _ := strings.Cut(first(d.put("v3")), "#")
	_, fragment, _ := strings.Cut(url, "#")
	for name, row := range map[string]struct{ url, words string }{
		"another host":  {url: as(url, "moved"), words: "it redirects to " + elsewhere.url + "releases/web-v2: not allowed"},
		"another file":  {url: lie + "#" + fragment, words: "digest mismatch"},
		"no such file":  {url: strings.Replace(url, "web-v2", "web-v9", 1), words: "404 Not Found"},
		"out of order":  {url: as(url, "down"), words: "503 Service Unavailable"},
		"outside of it": {url: strings.Replace(url, "/releases/", "/", 1), words: "not allowed on this host"},
	} {
		if r := a.Ctl(t, "push", row.url); r.Code != 1 || !strings.Contains(r.Stderr, row.words) || strings.Contains(r.Stderr, "secret") {
			t.Errorf("%s: want %q in %v", name, row.words, r)
		}
	}
	if asked, _ := elsewhere.requests(); len(asked) > 0 {
		t.Errorf("another host was asked for %v", asked)
	}
	nothingBegun(t, a)
	before, _ := d.requests()
	a.CtlOK(t, "push", as(url, "broken"))
	asked, _ := d.requests()
	t.Logf("%d connections for %d bytes", len(asked)-len(before), size)
	if n := int64(len(asked) - len(before)); n < size/(1<<20) {
		t.Errorf("%d connections for %d bytes", n, size)
	}
}

// Room is found before a byte is written, or the fetch is refused.
func TestFetchWithoutRoom(t *testing.T) {
	d := openDepot(t, nil)
	url, size := d.put("v2")
	config := d.config(fmt.Sprintf("limits: {artifacts: %d}\n", size-1))
	a := harness.Start(t, "--config", config)
	r := a.Ctl(t, "push", url)
	if r.Code != 1 || !strings.Contains(r.Stderr, "limits.artifacts of graced.yaml") {
		t.Errorf("more than the quota: %v", r)
	}
	nothingBegun(t, a)
}

// nothingBegun fails the test if an upload of what was refused is left.
func nothingBegun(t *testing.T, a *harness.Agent) {
	t.Helper()
	if left, err := os.ReadDir(filepath.Join(a.Dir, "s", "uploads")); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestFetchOntoAFullDisk(t *testing.T) {
	d := openDepot(t, nil)
	s, disk := startOnSmallDisk(t, "--config", d.config(""))
	pid := s.await(1, pb.Generation_STATE_ACTIVE).GetPid()
	url := first(d.put("v2"))
	fillDisk(t, disk)
	if r := s.Ctl(t, "push", url); r.Code != 1 || !strings.Contains(r.Stderr, "full") {
		t.Errorf("a fetch onto a full disk: %v", r)
	}
	s.untouched(pid)
	emptyDisk(t, disk)
	s.CtlOK(t, "upgrade", "web", url)
	s.await(2, pb.Generation_STATE_ACTIVE)
}
