package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func sum(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// script is an artifact of at least n bytes.
func script(n int) []byte {
	return append([]byte("#!/bin/sh\nexit 0\n"), bytes.Repeat([]byte("# filling\n"), n/10)...)
}

func store(t testing.TB, s *Store, data []byte, name string, labels map[string]string) Artifact {
	t.Helper()
	u, at, err := s.BeginUpload(sum(data), int64(len(data)), UploadOptions{Name: name, Labels: labels})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write(data[at:]); err != nil {
		t.Fatal(err)
	}
	a, err := u.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestUpload(t *testing.T) {
	s := open(t, Options{})
	data := script(1 << 20)
	a := store(t, s, data, "web v1", map[string]string{"version": "1.0"})
	info, err := os.Stat(a.Path)
	if err != nil || info.Mode() != 0o555 {
		t.Fatalf("%v, %v", info, err)
	}
	dir, _ := os.Stat(filepath.Dir(a.Path))
	if dir.Mode().Perm() != 0o711 || a.Name != "web_v1" || a.Size != int64(len(data)) {
		t.Errorf("%+v in %v", a, dir.Mode())
	}
	if out, err := childOutput(a.Path); err != nil {
		t.Errorf("it does not run: %v %s", err, out)
	}
	s = reopen(t, s)
	got, err := s.GetArtifact(a.Digest)
	if err != nil || got.Labels["version"] != "1.0" || !got.Created.Equal(a.Created) {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
	if _, err := os.Stat(s.path("uploads", strings.TrimPrefix(a.Digest, digestPrefix))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the upload stayed: %v", err)
	}
	u, at, err := s.BeginUpload(a.Digest, a.Size, UploadOptions{Name: "again"})
	if err != nil || at != a.Size {
		t.Fatalf("pushed again: %d, %v", at, err)
	}
	if again, err := u.Commit(); err != nil || again.Name != a.Name {
		t.Errorf("pushed again: %+v, %v", again, err)
	}
}

func TestUploadResumes(t *testing.T) {
	s := open(t, Options{})
	data := script(3 << 20)
	offset := int64(0)
	for part := range 3 {
		u, at, err := s.BeginUpload(sum(data), int64(len(data)), UploadOptions{Name: "web"})
		if err != nil || at != offset {
			t.Fatalf("part %d goes on at %d, %v; want %d", part, at, err, offset)
		}
		if _, _, err := s.BeginUpload(sum(data), int64(len(data)), UploadOptions{Name: "web"}); !errors.Is(err, ErrBusy) {
			t.Errorf("a second upload beside it: %v", err)
		}
		if _, err := u.Write(data[at : at+1<<20]); err != nil {
			t.Fatal(err)
		}
		offset += 1 << 20
		switch part {
		case 0:
			err = u.Close()
		case 1:
			if _, err := u.Commit(); !errors.Is(err, ErrIncomplete) {
				t.Errorf("commit of a part: %v", err)
			}
		case 2:
			// As a killed agent leaves it: written, and neither synced nor closed.
			u.store.unclaim(u.digest)
			u.file.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		s = reopen(t, s)
		st, err := s.UploadStatus(sum(data))
		if err != nil || st != (UploadState{Committed: offset, Size: int64(len(data))}) {
			t.Fatalf("part %d: %+v, %v", part, st, err)
		}
	}
	a := store(t, s, data, "web", nil)
	if st, err := s.UploadStatus(a.Digest); err != nil || !st.Complete {
		t.Errorf("%+v, %v", st, err)
	}
}

// Four artifacts, each pushed by four clients at once: one of each gets through
// or all the others find it stored.
func TestConcurrentUploads(t *testing.T) {
	s := open(t, Options{})
	var wg sync.WaitGroup
	var stored [4]atomic.Int32
	for i := range 16 {
		data := script(100_000 + i%4*100)
		wg.Go(func() {
			switch err := upload(s, sum(data), data); {
			case err == nil:
				stored[i%4].Add(1)
			case !errors.Is(err, ErrBusy):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	list, err := s.ListArtifacts()
	if err != nil || len(list) != 4 {
		t.Fatalf("stored %v, %v", list, err)
	}
	for i, a := range list {
		if _, err := s.Verify(a.Digest); err != nil || stored[i].Load() == 0 {
			t.Errorf("%s, acknowledged %d times: %v", a.Digest, stored[i].Load(), err)
		}
	}
}

func TestUploadRefusals(t *testing.T) {
	s := open(t, Options{UploadLimit: 1 << 20})
	good := script(100)
	for name, c := range map[string]struct {
		digest string
		size   int64
		want   error
	}{
		"empty":      {sum(nil), 0, ErrEmpty},
		"negative":   {sum(good), -1, ErrEmpty},
		"large":      {sum(good), 1<<20 + 1, ErrTooLarge},
		"no prefix":  {sum(good)[7:], 10, ErrBadDigest},
		"short":      {"sha256:abc", 10, ErrBadDigest},
		"path":       {"sha256:../../x", 10, ErrBadDigest},
		"upper case": {"sha256:" + strings.ToUpper(sum(good)[7:]), 10, ErrBadDigest},
	} {
		if _, _, err := s.BeginUpload(c.digest, c.size, UploadOptions{Name: "x"}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	u, _, err := s.BeginUpload(sum(good), int64(len(good)), UploadOptions{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write(append(bytes.Clone(good), 'x')); !errors.Is(err, ErrTooLarge) {
		t.Errorf("more than announced: %v", err)
	}
	if err := u.Abort(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data   []byte
		digest string
		want   error
	}{
		"wrong digest": {good, sum([]byte("x")), ErrDigestMismatch},
		"text":         {[]byte("hello\n"), sum([]byte("hello\n")), ErrNotExecutable},
		"no shell":     {[]byte("#!/nope\n"), sum([]byte("#!/nope\n")), ErrMissingInterpreter},
	} {
		u, _, err := s.BeginUpload(c.digest, int64(len(c.data)), UploadOptions{Name: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Write(c.data); err != nil {
			t.Fatal(err)
		}
		if _, err := u.Commit(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if _, err := s.UploadStatus(c.digest); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: what cannot be used was kept: %v", name, err)
		}
	}
	list, err := s.ListArtifacts()
	if err != nil || len(list) != 0 {
		t.Errorf("stored %v, %v", list, err)
	}
}

func TestFileName(t *testing.T) {
	for in, want := range map[string]string{
		"web": "web", "/usr/bin/web-1.2": "web-1.2", "../..": "artifact", "": "artifact",
		".artifact": "artifact", "a b\n\x1b[31m": "a_b___31m", strings.Repeat("a", 99): strings.Repeat("a", 64),
	} {
		if got := fileName(in); got != want || fileName(got) != got {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestVerify(t *testing.T) {
	s := open(t, Options{})
	data := script(1000)
	a := store(t, s, data, "web", nil)
	_, m, err := s.artifact(a.Digest)
	if err != nil {
		t.Fatal(err)
	}
	info, _ := os.Stat(a.Path)
	if m.Verified != s.look(info) {
		t.Errorf("not quick right after the upload: %+v, now %+v", m.Verified, s.look(info))
	}
	verify := func(what string, want error) {
		t.Helper()
		if path, err := s.Verify(a.Digest); !errors.Is(err, want) || (err == nil) != (path == a.Path) {
			t.Errorf("%s: %s, %v, want %v", what, path, err, want)
		}
	}
	verify("untouched", nil)

	s.boot = "another boot"
	verify("rebooted", nil)
	if _, m, _ := s.artifact(a.Digest); m.Verified.Boot != "another boot" {
		t.Errorf("not remembered: %+v", m.Verified)
	}

	// The same size and mtime, another byte: ctime tells.
	bad := bytes.Clone(data)
	bad[len(bad)-2] ^= 1
	if err := overwrite(a.Path, bad, info.ModTime()); err != nil {
		t.Fatal(err)
	}
	verify("altered", ErrDigestMismatch)
	if err := overwrite(a.Path, data, time.Now()); err != nil {
		t.Fatal(err)
	}
	verify("restored", nil)

	if err := os.WriteFile(filepath.Join(filepath.Dir(a.Path), metadataFile), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	verify("metadata lost", nil)

	if err := os.Remove(a.Path); err != nil {
		t.Fatal(err)
	}
	verify("file lost", ErrNotFound)
	store(t, s, data, "web", nil)
	verify("pushed again", nil)
}

func overwrite(path string, data []byte, mtime time.Time) error {
	return errors.Join(os.Chmod(path, 0o755), os.WriteFile(path, data, 0o755), os.Chtimes(path, mtime, mtime))
}

func TestDeleteAndCollect(t *testing.T) {
	s := open(t, Options{})
	var all []Artifact
	for i := range 4 {
		all = append(all, store(t, s, script(100*i), "web", nil))
	}
	err := s.DeleteArtifact(all[0].Digest, func(d string) bool { return d == all[0].Digest })
	if !errors.Is(err, ErrInUse) {
		t.Errorf("in use: %v", err)
	}
	if err := s.DeleteArtifact(all[0].Digest, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteArtifact(all[0].Digest, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if gone, err := s.CollectArtifacts(nil, time.Hour); err != nil || len(gone) != 0 {
		t.Errorf("collected young ones: %v, %v", gone, err)
	}
	gone, err := s.CollectArtifacts(map[string]bool{all[2].Digest: true}, 0)
	if err != nil || len(gone) != 2 || gone[0] != all[1].Digest || gone[1] != all[3].Digest {
		t.Errorf("collected %v, %v", gone, err)
	}
	list, err := s.ListArtifacts()
	if err != nil || len(list) != 1 || list[0].Digest != all[2].Digest {
		t.Errorf("left %v, %v", list, err)
	}
}

func TestStaleUploads(t *testing.T) {
	s := open(t, Options{})
	for _, age := range []time.Duration{uploadMaxAge - time.Hour, uploadMaxAge + time.Hour} {
		data := script(int(age.Hours()) * 10)
		u, _, err := s.BeginUpload(sum(data), int64(len(data)), UploadOptions{Name: "web"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Write(data[:10]); err != nil {
			t.Fatal(err)
		}
		if err := u.Close(); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := errors.Join(os.Chtimes(u.data(), then, then), os.Chtimes(filepath.Join(u.dir, uploadFile), then, then), os.Chtimes(u.dir, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	s = reopen(t, s)
	left, _ := os.ReadDir(s.path("uploads"))
	if len(left) != 1 {
		t.Errorf("%d uploads left, want the younger one", len(left))
	}
}

func TestHostArtifact(t *testing.T) {
	s := open(t, Options{})
	data, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := s.HostArtifact("/bin/sh"); err != nil || got != sum(data) {
			t.Errorf("got %s, %v", got, err)
		}
	}
	path := filepath.Join(t.TempDir(), "web")
	if err := os.WriteFile(path, script(10), 0o755); err != nil {
		t.Fatal(err)
	}
	first, err := s.HostArtifact(path)
	if err != nil || first != sum(script(10)) {
		t.Fatalf("%s, %v", first, err)
	}
	if err := overwrite(path, script(20), time.Now()); err != nil {
		t.Fatal(err)
	}
	if second, err := s.HostArtifact(path); err != nil || second != sum(script(20)) {
		t.Errorf("after a package update: %s, %v", second, err)
	}
	for p, want := range map[string]error{"/nope": ErrNotFound, "/tmp": ErrNotExecutable, "/etc/passwd": ErrNotExecutable} {
		if _, err := s.HostArtifact(p); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", p, err, want)
		}
	}
	if _, err := s.HostArtifact("bin/sh"); err == nil {
		t.Error("took a relative path")
	}
}

func BenchmarkUpload100MiB(b *testing.B) {
	s := open(b, Options{})
	data := script(100 << 20)
	digest := sum(data)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		u, _, err := s.BeginUpload(digest, int64(len(data)), UploadOptions{Name: "web"})
		if err != nil {
			b.Fatal(err)
		}
		for rest := data; len(rest) > 0; {
			n, err := u.Write(rest[:min(256<<10, len(rest))])
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
		if _, err := u.Commit(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.DeleteArtifact(digest, nil); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkVerifyQuick(b *testing.B) {
	s := open(b, Options{})
	a := store(b, s, script(16<<20), "web", nil)
	for b.Loop() {
		if _, err := s.Verify(a.Digest); err != nil {
			b.Fatal(err)
		}
	}
}
