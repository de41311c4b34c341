package ctl

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/internal/kept"
	"github.com/gracefleet/gracefleet/internal/delta"
)

// releases are two files that differ by a little; the agent holds the first.
func releases(t *testing.T, a *agent, n int) (path, base, baseDigest string, body []byte) {
	t.Helper()
	base, baseDigest, old := binary(t, n)
	a.stored[baseDigest], a.sizes[baseDigest], a.encodings = old, int64(n), true
	body = slices.Concat(old[:n/3], []byte("what is new"), old[n/3+5:])
	path = filepath.Join(t.TempDir(), "web-v2")
	if err := os.WriteFile(path, body, 0o755); err != nil {
		t.Fatal(err)
	}
	return path, base, baseDigest, body
}

func nameOf(body []byte) string {
	digest, _, _ := hash(bytes.NewReader(body))
	return digest
}

func TestPushOfADifference(t *testing.T) {
	a := newAgent(t)
	path, base, baseDigest, body := releases(t, a, 1<<20)
	r := a.gracectl(t, "push", path, "--delta-from", base)
	if r.code != ExitDone || r.out != nameOf(body)+"\n" || !slices.Equal(a.stored[nameOf(body)], body) {
		t.Fatalf("exit %d: %q %s", r.code, r.out, r.err)
	}
	if h := asked[*pb.UploadHeader](a); len(h) != 1 || h[0].GetDeltaBase() != baseDigest {
		t.Errorf("uploads %v", h)
	}
	if !strings.Contains(r.err, " B, as a difference to "+short(baseDigest)) {
		t.Errorf("it says %s", r.err)
	}
}

// What cannot travel as a difference travels as it is.
func TestPushFallsBack(t *testing.T) {
	for name, prepare := range map[string]func(a *agent, base string){
		"the agent does not decode": func(a *agent, _ string) { a.encodings = false },
		"it has no such base":       func(a *agent, base string) { delete(a.stored, base) },
		"the base went away":        func(a *agent, _ string) { a.refuse = refusal(pb.Reason_REASON_DELTA_REFUSED) },
		"it decoded to other bytes": func(a *agent, _ string) { a.refuse = refusal(pb.Reason_REASON_DIGEST_MISMATCH) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t)
			path, base, baseDigest, body := releases(t, a, 1<<20)
			prepare(a, baseDigest)
			r := a.gracectl(t, "push", path, "--delta-from", base)
			if r.code != ExitDone || !slices.Equal(a.stored[nameOf(body)], body) {
				t.Fatalf("exit %d: %s", r.code, r.err)
			}
			headers := asked[*pb.UploadHeader](a)
			if last := headers[len(headers)-1]; last.GetDeltaBase() != "" || last.GetOffset() != 0 {
				t.Errorf("uploads %v", headers)
			}
			if strings.Contains(r.err, "difference") {
				t.Errorf("it says %s", r.err)
			}
		})
	}
}

func refusal(reason pb.Reason) *api.Error {
	return &api.Error{Code: codes.FailedPrecondition, Reason: reason, Message: "told why"}
}

// What is wrong with the artifact itself is said once, not tried again.
func TestRefusedDifference(t *testing.T) {
	a := newAgent(t)
	path, base, _, _ := releases(t, a, 1<<20)
	a.refuse = refusal(pb.Reason_REASON_DISK_FULL)
	if r := a.gracectl(t, "push", path, "--delta-from", base); r.code != ExitError || !strings.Contains(r.err, "told why") || len(asked[*pb.UploadHeader](a)) != 1 {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

func TestDeltaFromNothing(t *testing.T) {
	a := newAgent(t)
	path, _, _, _ := releases(t, a, 1<<20)
	if r := a.gracectl(t, "push", path, "--delta-from", path+"-absent"); r.code != ExitError || !strings.Contains(r.err, "--delta-from: artifact: stat") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

// An upload that turns out to be slow goes on in the form that is over sooner.
func TestSlowPush(t *testing.T) {
	for name, have := range map[string]bool{"as a difference to": true, "compressed": false} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t)
			path, base, baseDigest, body := releases(t, a, delta.Segment+1000)
			if !have { // bytes that can be compressed
				body = bytes.Repeat([]byte("web"), delta.Segment/3+1000)
				if err := os.WriteFile(path, body, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			a.stall = 2 * trialTime
			cache := t.TempDir()
			f, err := os.Open(base)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if have {
				if err := kept.Dir(filepath.Join(cache, "gracefleet", "artifacts")).Keep(f, baseDigest, "web-v1"); err != nil {
					t.Fatal(err)
				}
			}
			r := gracectl(t, t.Context(), map[string]string{"GRACECTL_AGENT": "unix:" + a.socket, "XDG_CACHE_HOME": cache}, "push", path)
			if r.code != ExitDone || !slices.Equal(a.stored[nameOf(body)], body) {
				t.Fatalf("exit %d: %s", r.code, r.err)
			}
			if len(asked[*pb.UploadHeader](a)) != 2 || !strings.Contains(r.err, ", "+name) {
				t.Errorf("it says %s", r.err)
			}
		})
	}
}

func TestWhenEncodingPays(t *testing.T) {
	begin := time.Now()
	for name, c := range map[string]struct {
		after                time.Duration
		size, sent, total    int64
		compresses, compares bool
	}{
		"too early to say":         {900 * time.Millisecond, 100 << 20, 1 << 10, 100 << 20, false, false},
		"10 Mbit/s":                {time.Second, 16 << 20, 1 << 20, 16 << 20, true, true},
		"100 Mbit/s":               {time.Second, 100 << 20, 12 << 20, 100 << 20, true, false},
		"1 Gbit/s":                 {time.Second, 300 << 20, 120 << 20, 300 << 20, false, false},
		"almost there":             {time.Second, 16 << 20, 1 << 20, 2 << 20, false, false},
		"slow, but little is left": {time.Second, 100 << 20, 1 << 20, 10 << 20, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			x := trial{begin: begin, size: c.size, sent: c.sent, total: c.total}
			now := begin.Add(c.after)
			if got := x.pays(compressing, now); got != c.compresses {
				t.Errorf("compressing pays: %v", got)
			}
			if got := x.pays(comparing, now); got != c.compares {
				t.Errorf("comparing pays: %v", got)
			}
		})
	}
}

func TestParcelGoesOnAtASegment(t *testing.T) {
	h := &pb.UploadHeader{Digest: digest7, SizeBytes: 2*delta.Segment + 1}
	p := &parcel{size: 60, frames: []int64{0, 10, 30, 60}, base: digest8, proof: []byte{1}}
	for committed, want := range map[int64][2]int64{
		0: {0, 60}, delta.Segment - 1: {0, 60}, delta.Segment: {delta.Segment, 50}, 2*delta.Segment + 1: {2 * delta.Segment, 30},
	} {
		got, rest := p.from(h, committed)
		if got.GetOffset() != want[0] || rest.Size() != want[1] || got.GetDeltaBase() != digest8 || h.GetDeltaBase() != "" {
			t.Errorf("%d are held: %d bytes with %v", committed, rest.Size(), got)
		}
	}
	p = &parcel{size: 60, frames: []int64{0, 60}}
	if got, _ := p.from(h, 0); !got.GetCompressed() || got.GetDeltaBase() != "" {
		t.Errorf("without a base: %v", got)
	}
}

// The copy in the cache is no longer what it was: it is not used.
func TestCopyThatWasChanged(t *testing.T) {
	a := newAgent(t)
	path, base, _, body := releases(t, a, 1<<20)
	u, err := openUpload(path)
	if err != nil {
		t.Fatal(err)
	}
	defer u.close()
	changed := &kept.File{Path: base, Digest: nameOf(body)}
	if _, _, err := openBase(changed); err == nil {
		t.Error("it was opened")
	}
	if p := u.smaller(t.Context(), changed, &bar{w: new(bytes.Buffer)}); p.encoded() {
		t.Error("it was used")
	}
}

func TestCopiesAreKeptOfWhatWentOverTheNetwork(t *testing.T) {
	for agent, want := range map[string]int{"unix:/run/graced.sock": 0, "/run/graced.sock": 0, "h1:7443": 1} {
		cache := t.TempDir()
		s := &session{stdio: Stdio{Getenv: func(k string) string { return map[string]string{"XDG_CACHE_HOME": cache}[k] }}}
		for _, n := range []int{minKept, minKept - 1} {
			path, _, _ := binary(t, n)
			u, err := openUpload(path)
			if err != nil {
				t.Fatal(err)
			}
			s.keep(&client{local: local(inventory.Host{Address: agent})}, u)
			u.close()
		}
		if got := len(s.kept().Files("web")); got != want {
			t.Errorf("%s: %d copies", agent, got)
		}
	}
	for _, env := range []map[string]string{nil, {"XDG_CACHE_HOME": "relative"}} {
		s := &session{stdio: Stdio{Getenv: func(k string) string { return env[k] }}}
		if s.kept() != "" {
			t.Errorf("%v: %s", env, s.kept())
		}
	}
}

func TestPushOfADifferenceThatBreaks(t *testing.T) {
	a := newAgent(t)
	path, base, _, body := releases(t, a, 1<<20)
	a.refuse = &api.Error{Code: codes.Unavailable, Message: "restarting"}
	r := a.gracectl(t, "push", path, "--delta-from", base)
	if r.code == ExitDone || len(asked[*pb.UploadHeader](a)) != attempts {
		t.Errorf("exit %d after %d tries: %s", r.code, len(asked[*pb.UploadHeader](a)), r.err)
	}
	a.refuse = nil
	if r := a.gracectl(t, "push", path, "--delta-from", base); r.code != ExitDone || !slices.Equal(a.stored[nameOf(body)], body) {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}
