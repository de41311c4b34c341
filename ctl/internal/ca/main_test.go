package ca

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/internal/identity"
)

// setUp makes a CA and opens it for changes, at a time.
func setUp(t *testing.T, now time.Time) *Signer {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	if _, err := create(t.Context(), dir, "example.org", now); err != nil {
		t.Fatal(err)
	}
	return reopen(t, dir, now)
}

func reopen(t *testing.T, dir string, now time.Time) *Signer {
	t.Helper()
	s, err := Lock(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.now = func() time.Time { return now }
	return s
}

var (
	alice = Request{Role: "operator", Name: "alice", Lifetime: DefaultLifetime}
	web1  = Request{Role: identity.AgentRole, Name: "web-1", Hosts: []string{"web-1.example.org", "10.0.0.5", "fd00::5"}, Lifetime: DefaultLifetime}
)

// issue issues a certificate and reads it back.
func issue(t *testing.T, s *Signer, r Request) (*x509.Certificate, Output) {
	t.Helper()
	out := OutputIn(t.TempDir(), r.Name)
	if _, err := s.Issue(r, out); err != nil {
		t.Fatal(err)
	}
	return readCert(t, out.Certificate), out
}

func readCert(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	cert, err := ReadCertificate(path)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func pool(certs ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}
