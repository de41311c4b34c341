package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/internal/chain"
	"github.com/gracefleet/gracefleet/internal/needs"
)

func TestFirstLines(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	at := time.Date(2026, 11, 21, 8, 0, 0, 5, time.UTC)
	l, told := openAt(t, dir, Options{Clock: func() time.Time { at = at.Add(-time.Second); return at }})
	if l.Head() != (Head{}) {
		t.Errorf("a new record has head %v", l.Head())
	}
	head := mustAppend(t, l, 2)
	data, err := os.ReadFile(filepath.Join(dir, "audit-00000000000000000001.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	if len(lines) != 3 || lines[2] != "" {
		t.Fatalf("wrote %q", data)
	}
	const rest = `,"time":"2026-11-21T07:59:59.000000005Z","actor":"alice","role":"stop","from":"unix pid 812",` +
		`"method":"/gracefleet.v1.Services/Stop","service":"web","decision":"allowed","reason":"maintenance","request_id":"9a","prev":"`
	for i, want := range []string{
		`{"seq":1` + rest + strings.Repeat("0", 64) + `"}`,
		`{"seq":2` + rest + chain.Hash([]byte(lines[0])) + `"}`,
	} {
		if lines[i] != want {
			t.Errorf("line %d is\n%s\nwant\n%s", i+1, lines[i], want)
		}
	}
	if want := (Head{Seq: 2, Hash: chain.Hash([]byte(lines[1]))}); head != want || l.Head() != want {
		t.Errorf("head %v and %v, want %v", head, l.Head(), want)
	}
	if len(*told) > 0 || len(l.Damages()) > 0 {
		t.Errorf("told %q, damages %v", *told, l.Damages())
	}
}

func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	var head Head
	for i := range int64(5) {
		l, told := openAt(t, dir, Options{MaxBytes: 1000})
		if l.Head() != head || len(*told) > 0 || len(l.Damages()) > 0 {
			t.Fatalf("head %v, was %v; told %q, damages %v", l.Head(), head, *told, l.Damages())
		}
		head = mustAppend(t, l, 4)
		if got := numbers(t, l, 0); !slices.Equal(got, upTo(1, 4*i+4)) {
			t.Fatalf("lines %v", got)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		mustVerify(t, dir, head)
	}
}

func TestRetention(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l, told := openAt(t, dir, Options{MaxBytes: 1000, Keep: 3})
	early := mustAppend(t, l, 1)
	head := mustAppend(t, l, 49)
	if n := len(segmentFiles(t, dir)); n != 3 {
		t.Errorf("%d files are kept", n)
	}
	for _, path := range segmentFiles(t, dir) {
		if info, err := os.Stat(path); err != nil || info.Size() > 1000+400 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %d bytes, %v, %v", path, info.Size(), info.Mode(), err)
		}
	}
	mustVerify(t, dir, head)
	if _, damages, err := l.Verify(t.Context(), early); err != nil || len(damages) != 1 || damages[0].Kind != chain.Forgotten {
		t.Errorf("a head that was removed: %v, %v", damages, err)
	}
	s, err := l.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	head = mustAppend(t, l, 50) // removes all of the snapshot's files but the open ones
	v := chain.NewVerifier(s.Anchor, s.Head)
	if err := s.Read(t.Context(), 0, func(line []byte, _ Entry) error { return v.Add(line) }); err != nil {
		t.Error(err)
	}
	if err := v.End(); err != nil || v.Head() != s.Head || s.Head.Seq != 50 || s.Anchor.Seq < 30 {
		t.Errorf("a snapshot from %v to %v: %v, %v", s.Anchor, s.Head, v.Head(), err)
	}
	_ = l.Close()
	l, _ = openAt(t, dir, Options{MaxBytes: 1000, Keep: 3})
	if l.Head() != head || len(l.Damages()) > 0 || len(*told) > 0 {
		t.Errorf("head %v, want %v; damages %v, told %q", l.Head(), head, l.Damages(), *told)
	}
}

// An agent that was killed while it removed old files.
func TestRetentionIsTakenUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l, _ := openAt(t, dir, Options{MaxBytes: 1000, Keep: 3})
	mustAppend(t, l, 6)
	old := segmentFiles(t, dir)[0]
	kept, err := os.ReadFile(old)
	if err != nil {
		t.Fatal(err)
	}
	head := mustAppend(t, l, 20)
	_ = l.Close()
	if err := os.WriteFile(old, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, dir, head)
	l, told := openAt(t, dir, Options{MaxBytes: 1000, Keep: 3})
	if _, err := os.Stat(old); err == nil || len(l.Damages()) > 0 || len(*told) > 0 || l.Head() != head {
		t.Errorf("the old file: %v; damages %v, told %q", err, l.Damages(), *told)
	}
}

func TestRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l, _ := openAt(t, dir, Options{MaxBytes: 1500})
	mustAppend(t, l, 20)
	for after := range int64(22) {
		if got := numbers(t, l, after); !slices.Equal(got, upTo(after+1, 20)) {
			t.Errorf("after %d: %v", after, got)
		}
	}
	enough := errors.New("enough")
	n := 0
	err := l.Read(t.Context(), 0, func([]byte, Entry) error {
		if n++; n == 7 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 7 {
		t.Errorf("%d lines, then %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Read(ctx, 0, func([]byte, Entry) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if _, _, err := l.Verify(ctx, Head{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// Those who append at once each get a line of their own, and readers see a prefix.
func TestConcurrentAppends(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l, _ := openAt(t, dir, Options{MaxBytes: 4000})
	const writers, each = 8, 25
	heads := make([][]Head, writers)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for range each {
				head, err := l.Append(stop("alice"))
				if err != nil {
					t.Error(err)
				}
				heads[w] = append(heads[w], head)
			}
		})
	}
	for range 20 {
		before := l.Head()
		got := numbers(t, l, 0)
		if !slices.Equal(got, upTo(1, int64(len(got)))) || int64(len(got)) < before.Seq {
			t.Fatalf("read %v, %v was durable", got, before)
		}
		if _, damages, err := l.Verify(t.Context(), before); err != nil || len(damages) > 0 {
			t.Fatalf("%v, %v", damages, err)
		}
	}
	group.Wait()
	all := map[int64]string{}
	for _, list := range heads {
		for i, head := range list {
			all[head.Seq] = head.Hash
			if i > 0 && head.Seq <= list[i-1].Seq {
				t.Errorf("%v after %v", head, list[i-1])
			}
		}
	}
	if len(all) != writers*each {
		t.Errorf("%d heads", len(all))
	}
	err := l.Read(t.Context(), 0, func(line []byte, e Entry) error {
		if all[e.Seq] != chain.Hash(line) {
			t.Errorf("line %d is not the one that was acknowledged", e.Seq)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l, _ := openAt(t, dir, Options{})
	if _, err := l.Append(Entry{Method: "/x/Y", Decision: "perhaps"}); err == nil || !strings.Contains(err.Error(), "perhaps") {
		t.Errorf("an unknown decision: %v", err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("a second agent: %v", err)
	}
	mustAppend(t, l, 1)
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := l.Append(stop("alice")); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := l.Read(t.Context(), 0, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, _, err := Verify(t.Context(), dir+"/none", Head{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}

func TestDirectory(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "audit")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	l, _ := openAt(t, dir, Options{})
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info.Mode(), err)
	}
	_ = l.Close()
	link := filepath.Join(parent, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link, Options{}); err == nil {
		t.Error("opened through a symbolic link")
	}
	needs.That(t, os.Geteuid() == 0, "giving a directory away needs root")
	if err := os.Chown(dir, 1234, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "uid 1234") {
		t.Errorf("a foreign directory: %v", err)
	}
}

// Whatever lies in the place of a file, the agent neither follows it nor waits.
func TestPlantedFiles(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"link":      func(path string) error { return os.Symlink("/etc/passwd", path) },
		"pipe":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		for _, file := range []string{segmentName(1), segmentName(7), anchorName} {
			dir := filepath.Join(t.TempDir(), "audit")
			if err := errors.Join(os.Mkdir(dir, 0o700), plant(filepath.Join(dir, file))); err != nil {
				t.Fatal(err)
			}
			l, _ := openAt(t, dir, Options{})
			if d := l.Damages(); len(d) != 1 || d[0].Sealed == 0 {
				t.Errorf("a %s as %s: %v", name, file, d)
			}
			if head := mustAppend(t, l, 1); head.Seq < 2 {
				t.Errorf("a %s as %s: goes on with %v", name, file, head)
			}
		}
	}
}
