package certstest

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
)

// CA is an issuer of example.org, for one test, which ends where it fails.
type CA struct {
	t      testing.TB
	issuer *Issuer
}

// NewCA makes an issuer.
func NewCA(t testing.TB) *CA {
	t.Helper()
	issuer, err := NewIssuer(t.TempDir(), "example.org")
	if err != nil {
		t.Fatal(err)
	}
	return &CA{t, issuer}
}

// File is the path of the issuer's certificate.
func (ca *CA) File() string { return ca.issuer.File() }

// Agent issues an agent's certificate, for the loopback addresses and localhost.
func (ca *CA) Agent(name string, changes ...Change) Files {
	ca.t.Helper()
	files, err := ca.issuer.Agent(name, changes...)
	if err != nil {
		ca.t.Fatal(err)
	}
	return files
}

// Client issues a client's certificate.
func (ca *CA) Client(role, name string, changes ...Change) tls.Certificate {
	ca.t.Helper()
	return ca.ClientFiles(role, name, changes...).Pair(ca.t)
}

// ClientFiles issues a client's certificate, too.
func (ca *CA) ClientFiles(role, name string, changes ...Change) Files {
	ca.t.Helper()
	files, err := ca.issuer.Client(role+"-"+name, role, name, changes...)
	if err != nil {
		ca.t.Fatal(err)
	}
	return files
}

// Pair is what the files hold.
func (f Files) Pair(t testing.TB) tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// Revoke makes the list of revoked certificates, and returns its path.
func (ca *CA) Revoke(revoked ...tls.Certificate) string {
	ca.t.Helper()
	leaves := make([]*x509.Certificate, len(revoked))
	for i, c := range revoked {
		leaves[i] = c.Leaf
	}
	path, err := ca.issuer.revoke(leaves...)
	if err != nil {
		ca.t.Fatal(err)
	}
	return path
}

// Pool is what trusts the issuer.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.issuer.cert)
	return pool
}
