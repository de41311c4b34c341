package store

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// scripts are artifacts of about n bytes, each another.
func scripts(n, count int) [][]byte {
	all := make([][]byte, count)
	for i := range all {
		all[i] = append(script(n), bytes.Repeat([]byte("#"), i+1)...)
	}
	return all
}

// age has an artifact be stored so long ago.
func (s *Store) age(t testing.TB, digest string, by time.Duration) {
	t.Helper()
	a, m, err := s.artifact(digest)
	if err == nil {
		m.Created = time.Now().Add(-by)
		err = s.writeMetadata(filepath.Dir(a.Path), m)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// stored is everything below artifacts and uploads.
func (s *Store) stored(t testing.TB) []string {
	t.Helper()
	artifacts, err := filepath.Glob(s.path("artifacts", "*", "*"))
	uploads, err2 := filepath.Glob(s.path("uploads", "*"))
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return append(artifacts, uploads...)
}

// What does not fit is refused before anything of it is written, and with the words
// that help.
func TestQuota(t *testing.T) {
	s := open(t, Options{Quota: 1 << 20, KeepFree: -1})
	data := scripts(400<<10, 4)
	first := store(t, s, data[0], "one", nil)
	second := store(t, s, data[1], "two", nil)
	before := s.stored(t)
	inUse := func(digest string) bool { return digest == first.Digest }
	_, _, err := s.BeginUpload(sum(data[2]), int64(len(data[2])), UploadOptions{Name: "three", InUse: inUse})
	if !errors.Is(err, ErrQuota) || !strings.Contains(err.Error(), second.Digest[:12]) || strings.Contains(err.Error(), first.Digest[:12]) || !strings.Contains(err.Error(), "limits.artifacts") {
		t.Fatalf("got %v", err)
	}
	if after := s.stored(t); !slices.Equal(before, after) {
		t.Errorf("it left %v, there was %v", after, before)
	}
	// What is there already needs no room.
	if u, at, err := s.BeginUpload(first.Digest, first.Size, UploadOptions{Name: "one"}); err != nil || at != first.Size {
		t.Errorf("pushed again: %d, %v", at, err)
	} else if _, err := u.Commit(); err != nil {
		t.Error(err)
	}

	// What is unused and old makes place, and nothing else does.
	s.age(t, first.Digest, 2*spareFor)
	if _, _, err := s.BeginUpload(sum(data[2]), int64(len(data[2])), UploadOptions{Name: "three", InUse: inUse}); !errors.Is(err, ErrQuota) {
		t.Fatalf("one in use made place: %v", err)
	}
	s.age(t, second.Digest, 2*spareFor)
	u, _, err := s.BeginUpload(sum(data[2]), int64(len(data[2])), UploadOptions{Name: "three", InUse: inUse})
	if err != nil {
		t.Fatal(err)
	}
	// One that is under way counts in full.
	if _, _, err := s.BeginUpload(sum(data[3]), int64(len(data[3])), UploadOptions{Name: "four", InUse: inUse}); !errors.Is(err, ErrQuota) {
		t.Errorf("beside one under way: %v", err)
	}
	if _, err := u.Write(data[2]); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GetArtifact(second.Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("nothing was removed: %v", err)
	}
	if _, err := s.Verify(first.Digest); err != nil {
		t.Errorf("the one in use: %v", err)
	}
}

// An upload that was broken off counts with what came of it, keeps that when it is
// refused, and gives way once it is old.
func TestQuotaAndUnfinishedUploads(t *testing.T) {
	s := open(t, Options{Quota: 1 << 20, KeepFree: -1})
	data := scripts(600<<10, 2)
	u, _, err := s.BeginUpload(sum(data[0]), int64(len(data[0])), UploadOptions{Name: "half"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write(data[0][:500<<10]); err != nil {
		t.Fatal(err)
	}
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	begin := func() (*Upload, error) {
		u, _, err := s.BeginUpload(sum(data[1]), int64(len(data[1])), UploadOptions{Name: "whole"})
		return u, err
	}
	if _, err := begin(); !errors.Is(err, ErrQuota) {
		t.Fatalf("got %v", err)
	}
	s.options.Quota = 1 // whatever it was
	if _, _, err := s.BeginUpload(sum(data[0]), int64(len(data[0])), UploadOptions{Name: "half"}); !errors.Is(err, ErrQuota) {
		t.Fatalf("got %v", err)
	}
	if st, err := s.UploadStatus(sum(data[0])); err != nil || st.Committed != 500<<10 {
		t.Errorf("a refusal took what had come: %+v, %v", st, err)
	}
	s.options.Quota = 1 << 20
	old := time.Now().Add(-2 * spareFor)
	if err := errors.Join(os.Chtimes(u.data(), old, old), os.Chtimes(filepath.Join(u.dir, uploadFile), old, old), os.Chtimes(u.dir, old, old)); err != nil {
		t.Fatal(err)
	}
	next, err := begin()
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if _, err := s.UploadStatus(sum(data[0])); !errors.Is(err, ErrNotFound) {
		t.Errorf("it is still there: %v", err)
	}
}

// An upload leaves the disk the space that others need.
func TestUploadsLeaveSpace(t *testing.T) {
	s := open(t, Options{KeepFree: 1 << 60})
	data := script(1000)
	_, _, err := s.BeginUpload(sum(data), int64(len(data)), UploadOptions{Name: "web"})
	if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "limits.reserve") || len(s.stored(t)) != 0 {
		t.Errorf("got %v, left %v", err, s.stored(t))
	}
}

// An archive may not unpack to more than is left.
func TestQuotaOfTrees(t *testing.T) {
	s := open(t, Options{Quota: 1 << 20, KeepFree: -1})
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := z.Write(archive(t, entry{name: "bin/web", content: strings.Repeat("x", 2<<20), mode: 0o755}))
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := putTree(s, bomb.Bytes()); !errors.Is(err, ErrQuota) || len(s.stored(t)) != 0 {
		t.Errorf("%d bytes that unpack to 2 MiB: %v, left %v", bomb.Len(), err, s.stored(t))
	}
	a, err := putTree(s, archive(t, entry{name: "bin/web", content: strings.Repeat("x", 300<<10), mode: 0o755}))
	if err != nil || a.TreeBytes != 300<<10 {
		t.Fatalf("%+v, %v", a, err)
	}
	data := script(800 << 10)
	if _, _, err := s.BeginUpload(sum(data), int64(len(data)), UploadOptions{Name: "web", InUse: func(string) bool { return true }}); !errors.Is(err, ErrQuota) {
		t.Errorf("what it unpacked to does not count: %v", err)
	}
}

// What goes is old, the oldest, enough and no more; or nothing goes.
func TestEnough(t *testing.T) {
	now := time.Now()
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.Int64Range(-50, 50)
		short := shortage{amount.Draw(t, "quota"), amount.Draw(t, "free"), amount.Draw(t, "number")}
		if !short.any() {
			short.quota = 1
		}
		unused := make([]holding, rapid.IntRange(0, 60).Draw(t, "unused"))
		for i := range unused {
			unused[i] = holding{bytes: rapid.Int64Range(0, 20).Draw(t, "bytes"), since: now.Add(-time.Duration(rapid.IntRange(0, 120).Draw(t, "age")) * time.Minute)}
		}
		slices.SortStableFunc(unused, func(a, b holding) int { return a.since.Compare(b.since) })
		serves := func(n int) bool {
			left := short
			for _, h := range unused[:n] {
				left.quota, left.free, left.number = left.quota-h.bytes, left.free-h.bytes, left.number-1
			}
			return !left.any()
		}
		old := 0
		for _, h := range unused {
			if now.Sub(h.since) >= spareFor {
				old++
			}
		}
		n := enough(unused, short, now)
		switch {
		case n == 0 && serves(old):
			t.Fatalf("%d old ones would do", old)
		case n > old:
			t.Fatalf("%d go, %d are old", n, old)
		case n > 0 && (!serves(n) || serves(n-1)):
			t.Fatalf("%d go: enough %v, fewer would do %v", n, serves(n), serves(n-1))
		}
	})
}

// Labels are added by each push of an artifact that is there, and not without end.
func TestLabelsAreBounded(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	data := []byte("data")
	push := func(label string) (Artifact, error) {
		u, committed, err := s.BeginUpload(sum(data), int64(len(data)), UploadOptions{Name: "x", Data: true, Labels: map[string]string{label: "y"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Write(data[committed:]); err != nil {
			t.Fatal(err)
		}
		return u.Commit()
	}
	for i := range maxLabels {
		if _, err := push(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := push("one more"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one more: %v", err)
	}
	if a, err := push("0"); err != nil || len(a.Labels) != maxLabels {
		t.Errorf("one that it has: %d labels, %v", len(a.Labels), err)
	}
}
