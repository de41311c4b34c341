package store

import (
	"bytes"
	"errors"
	"os"
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
	data := script(1000)
	a := store(t, s, data, "web", nil)
	// As if it had been stored like that: to hash as much takes too long here.
	if err := errors.Join(os.Chmod(a.Path, 0o755), os.Truncate(a.Path, maxBase+1)); err != nil {
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
	if err := s.writeMetadata(s.path("artifacts", a.Digest[len(digestPrefix):]), m); err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenBase(a.Digest, proofOf(t, data)); !errors.Is(err, ErrBase) || errors.Is(err, ErrDigestMismatch) {
		t.Errorf("got %v", err)
	}
}
