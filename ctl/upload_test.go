package ctl

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// binary is a file of random bytes and its digest.
func binary(t *testing.T, n int) (path, digest string, body []byte) {
	t.Helper()
	body = make([]byte, n)
	rand.Read(body)
	path = filepath.Join(t.TempDir(), "web")
	if err := os.WriteFile(path, body, 0o755); err != nil {
		t.Fatal(err)
	}
	digest, _, _ = hash(bytes.NewReader(body))
	return path, digest, body
}

func TestPushPrintsTheDigestAlone(t *testing.T) {
	path, digest, body := binary(t, api.MaxChunk+1)
	a := newAgent(t)
	r := a.gracectl(t, "push", path, "--version", "v2.3.1", "--label", "commit=abc")
	if r.code != ExitDone || r.out != digest+"\n" {
		t.Fatalf("exit %d: %q %s", r.code, r.out, r.err)
	}
	h := asked[*pb.UploadHeader](a)[0]
	if !slices.Equal(a.stored[digest], body) || h.GetVersion() != "v2.3.1" || h.GetFileName() != "web" || h.GetLabels()["commit"] != "abc" {
		t.Errorf("stored %d bytes with %v", len(a.stored[digest]), h)
	}
	if r := a.gracectl(t, "push", path); r.code != ExitDone || r.out != digest+"\n" || len(asked[*pb.UploadHeader](a)) != 1 {
		t.Errorf("a second push: exit %d, %q, %d uploads", r.code, r.out, len(asked[*pb.UploadHeader](a)))
	}
}

func TestPushGoesOnWhereItBroke(t *testing.T) {
	path, digest, body := binary(t, 4*api.MaxChunk+9)
	a := newAgent(t)
	a.breakAt, a.breakWith = 2*api.MaxChunk, status.Error(codes.Unavailable, "restarting")
	if r := a.gracectl(t, "push", path); r.code != ExitDone || !slices.Equal(a.stored[digest], body) {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	headers := asked[*pb.UploadHeader](a)
	if len(headers) != 2 || headers[0].GetOffset() != 0 || headers[1].GetOffset() != 2*api.MaxChunk {
		t.Errorf("uploads %v", headers)
	}
}

func TestInterruptedPushGoesOnWithTheNext(t *testing.T) {
	path, digest, body := binary(t, 4*api.MaxChunk)
	a := newAgent(t)
	a.stored[digest] = slices.Clone(body[:3*api.MaxChunk])
	if r := a.gracectl(t, "push", path); r.code != ExitDone || !slices.Equal(a.stored[digest], body) {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	if off := asked[*pb.UploadHeader](a)[0].GetOffset(); off != 3*api.MaxChunk {
		t.Errorf("went on at %d", off)
	}
}

func TestCtrlCDuringAPush(t *testing.T) {
	path, _, _ := binary(t, 4*api.MaxChunk)
	a := newAgent(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := gracectl(t, ctx, map[string]string{"GRACECTL_AGENT": "unix:" + a.socket}, "push", path)
	if r.code != ExitDetached {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

func TestRefusedPush(t *testing.T) {
	path, _, _ := binary(t, 2*api.MaxChunk)
	a := newAgent(t)
	for reason, code := range map[pb.Reason]int{pb.Reason_REASON_DISK_FULL: ExitError, pb.Reason_REASON_UPLOAD_BUSY: ExitHeld} {
		a.stored = map[string][]byte{}
		a.breakAt, a.breakWith = 1, (&api.Error{Code: codes.ResourceExhausted, Reason: reason, Message: "told why"}).GRPCStatus().Err()
		if r := a.gracectl(t, "push", path); r.code != code || !strings.Contains(r.err, "told why") {
			t.Errorf("%s: exit %d: %s", reason, r.code, r.err)
		}
	}
}

func TestWhatIsNotPushed(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	os.WriteFile(file("empty"), nil, 0o755)
	syscall.Mkfifo(file("pipe"), 0o600)
	os.WriteFile(file("large"), nil, 0o755)
	os.Truncate(file("large"), uploadLimit+1)
	a := newAgent(t)
	for path, want := range map[string]string{
		file("empty"):  "is empty",
		dir:            "is a directory",
		file("pipe"):   "not a regular file",
		file("large"):  "agents take at most",
		file("absent"): "no such file",
	} {
		for _, args := range [][]string{{"push", path}, {"upgrade", "web", path}} {
			if r := a.gracectl(t, args...); r.code != ExitError || !strings.Contains(r.err, want) {
				t.Errorf("%v: exit %d: %s", args, r.code, r.err)
			}
		}
	}
	if len(asked[*pb.StartUpgradeRequest](a)) > 0 {
		t.Error("an upgrade began")
	}
}
