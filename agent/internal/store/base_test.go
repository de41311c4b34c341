package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/gracefleet/gracefleet/internal/delta"
)

func proofOf(t *testing.T, data []byte) []byte {
	t.Helper()
	proof, err := delta.Proof(sum(data), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

func TestBase(t *testing.T) {
	s := open(t, Options{})
	data := script(10_000)
	a := store(t, s, data, "web", nil)
	b, err := s.OpenBase(a.Digest, proofOf(t, data))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := s.DeleteArtifact(a.Digest, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes, data) {
		t.Error("it has other bytes")
	}
	if _, err := s.OpenBase(a.Digest, proofOf(t, data)); !errors.Is(err, ErrBase) || !errors.Is(err, ErrNotFound) {
		t.Errorf("of what is gone: %v", err)
	}
}

// Whoever knows the digest alone may not use the bytes.
func TestBaseWithoutProof(t *testing.T) {
	s := open(t, Options{})
	data, other := script(10_000), script(20_000)
	a := store(t, s, data, "web", nil)
	for name, proof := range map[string][]byte{"none": nil, "of other bytes": proofOf(t, other), "cut": proofOf(t, data)[:16]} {
		if _, err := s.OpenBase(a.Digest, proof); !errors.Is(err, ErrBase) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBaseThatWasChanged(t *testing.T) {
	s := open(t, Options{})
	data := script(10_000)
	a := store(t, s, data, "web", nil)
	if err := errors.Join(os.Chmod(a.Path, 0o755), os.WriteFile(a.Path, script(5_000), 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenBase(a.Digest, proofOf(t, data)); !errors.Is(err, ErrBase) || !errors.Is(err, ErrDigestMismatch) {
		t.Errorf("got %v", err)
	}
}

func TestBaseThatIsTooLarge(t *testing.T) {
	s := open(t, Options{})
	a := store(t, s, script(1000), "web", nil)
	for size, want := range map[int64]error{maxBase: nil, maxBase + 1: ErrBase} {
		// As if it had been stored like that.
		if err := errors.Join(os.Chmod(a.Path, 0o755), os.Truncate(a.Path, size)); err != nil {
			t.Fatal(err)
		}
		_, m, err := s.artifact(a.Digest)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(a.Path)
		if err != nil {
			t.Fatal(err)
		}
		m.Verified = s.look(info)
		if err := s.writeMetadata(filepath.Dir(a.Path), m); err != nil {
			t.Fatal(err)
		}
		b, err := s.OpenBase(a.Digest, proofOfFile(t, a))
		if !errors.Is(err, want) {
			t.Errorf("%d bytes: %v", size, err)
		}
		if err == nil {
			b.Close()
		}
	}
}

func proofOfFile(t *testing.T, a Artifact) []byte {
	t.Helper()
	f, err := os.Open(a.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	proof, err := delta.Proof(a.Digest, f)
	if err != nil {
		t.Fatal(err)
	}
	return proof
}
