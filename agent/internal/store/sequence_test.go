package store

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// FuzzUploadSequence makes any calls in any order, some of them senseless. The store
// takes the bytes of its digest and nothing else, and knows at each time how many
// it has.
func FuzzUploadSequence(f *testing.F) {
	f.Add([]byte{0, 10, 10, 1})          // in one go
	f.Add([]byte{0, 5, 2, 0, 255, 1, 3}) // broken off, gone on with
	f.Add([]byte{0, 4, 3, 0, 4, 200, 1}) // aborted, begun anew, wrong bytes
	f.Add([]byte{0, 255, 255, 255, 1, 1, 2, 3, 60, 0, 1})
	data := append([]byte("#!/bin/sh\n"), bytes.Repeat([]byte("x"), 190)...)
	s := openDir(f, filepath.Join(inMemory(f), "state"), Options{Reserve: -1, KeepFree: -1})
	f.Fuzz(func(t *testing.T, calls []byte) {
		var u *Upload
		sent, ended := 0, true
		wrong := false // bytes that are not those of the digest are among them
		for _, c := range calls[:min(len(calls), 100)] {
			switch {
			case c == 0:
				next, at, err := s.BeginUpload(sum(data), int64(len(data)), UploadOptions{Name: "web"})
				if !ended != errors.Is(err, ErrBusy) {
					t.Fatalf("begun with one open %v: %v", !ended, err)
				}
				if err == nil {
					if int(at) != sent {
						t.Fatalf("goes on at %d, it has %d", at, sent)
					}
					u, ended = next, false
				}
			case u == nil:
			case c == 1:
				_, err := u.Commit()
				switch {
				case ended:
					if !errors.Is(err, fs.ErrClosed) {
						t.Fatalf("committed after its end: %v", err)
					}
				case sent < len(data):
					if !errors.Is(err, ErrIncomplete) {
						t.Fatalf("%d bytes committed: %v", sent, err)
					}
				case wrong:
					if !errors.Is(err, ErrDigestMismatch) {
						t.Fatalf("wrong bytes committed: %v", err)
					}
					sent, wrong = 0, false
				case err != nil:
					t.Fatal(err)
				}
				ended = true
			case c == 2:
				if err := u.Close(); err != nil {
					t.Fatal(err)
				}
				ended = true
			case c == 3:
				_, stored := s.GetArtifact(sum(data))
				if err := u.Abort(); err != nil {
					t.Fatal(err)
				}
				if !ended && stored != nil {
					sent, wrong = 0, false
				}
				ended = true
			default:
				n := int(c)
				chunk := make([]byte, n)
				if c < 200 && sent+n <= len(data) {
					copy(chunk, data[sent:])
				}
				written, err := u.Write(chunk)
				switch {
				case ended:
					if !errors.Is(err, fs.ErrClosed) {
						t.Fatalf("written after its end: %v", err)
					}
				case sent+n > len(data):
					if !errors.Is(err, ErrTooLarge) || written != 0 {
						t.Fatalf("%d bytes of %d at %d: %d, %v", n, len(data), sent, written, err)
					}
				case err != nil || written != n:
					t.Fatalf("wrote %d of %d: %v", written, n, err)
				default:
					wrong = wrong || !bytes.Equal(chunk, data[sent:sent+n])
					sent += n
				}
			}
		}
		if u != nil {
			if err := u.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.GetArtifact(sum(data)); err == nil {
			if _, err := s.Verify(sum(data)); err != nil || wrong {
				t.Fatalf("what is stored is not what was pushed: %v", err)
			}
		}
		empty(t, s, sum(data), int64(len(data)))
	})
}

// empty leaves nothing of an artifact.
func empty(t *testing.T, s *Store, digest string, size int64) {
	t.Helper()
	u, _, err := s.BeginUpload(digest, size, UploadOptions{Name: "web"})
	if err == nil {
		err = u.Abort()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteArtifact(digest, func(string) bool { return false }); err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

// inMemory is a directory whose syncs cost nothing, where there is one: a fuzzer is
// after orders of calls, and many of them.
func inMemory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "gf")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
