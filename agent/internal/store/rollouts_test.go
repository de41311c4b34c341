package store

import (
	"bytes"
	"errors"
	"os"
	"testing"
)

func TestRollouts(t *testing.T) {
	s := open(t, Options{})
	first, err := s.WriteRollout([]byte("first"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.WriteRollout([]byte("second"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.WriteRollout([]byte("first")); err != nil || again != first || first == second {
		t.Errorf("again it is %s, %v, and was %s", again, err, first)
	}
	if err := s.KeepRollouts(map[string]bool{second: true}); err != nil {
		t.Fatal(err)
	}
	if data, err := s.ReadRollout(second); err != nil || !bytes.Equal(data, []byte("second")) {
		t.Errorf("got %q, %v", data, err)
	}
	for _, digest := range []string{first, "sha256:../../etc/passwd", ""} {
		if _, err := s.ReadRollout(digest); err == nil {
			t.Errorf("%q was read", digest)
		}
	}
	if err := os.WriteFile(s.path("rollouts", second[len(digestPrefix):]), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadRollout(second); !errors.Is(err, ErrNotFound) {
		t.Errorf("damaged bytes were read: %v", err)
	}
	if _, err := s.WriteRollout([]byte("second")); err != nil {
		t.Fatal(err)
	}
	if data, err := s.ReadRollout(second); err != nil || !bytes.Equal(data, []byte("second")) {
		t.Errorf("written again it is %q, %v", data, err)
	}
}

func TestFreezeIsKept(t *testing.T) {
	s := open(t, Options{})
	for _, want := range []string{"", "why", "because", "", ""} {
		if err := s.WriteFreeze([]byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.ReadFreeze(); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}
