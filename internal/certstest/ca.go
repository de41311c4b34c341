package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA is an issuer.
type CA struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

// Files are the paths of a certificate, its key and the issuer; Revoked is empty
// until somebody sets it.
type Files struct {
	Cert, Key, CA, Revoked string
}

// Change makes a certificate different from what it ought to be.
type Change func(c *x509.Certificate)

// NewCA makes an issuer.
func NewCA(t testing.TB) *CA {
	t.Helper()
	ca := &CA{t: t, dir: t.TempDir(), key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
	}
	ca.cert = ca.sign(template, ca.key, template, ca.key)
	ca.last = 1
	ca.write("ca.pem", "CERTIFICATE", ca.cert.Raw)
	return ca
}

// File is the path of the issuer's certificate.
func (ca *CA) File() string { return filepath.Join(ca.dir, "ca.pem") }

// Agent issues an agent's certificate, for the loopback addresses and localhost.
func (ca *CA) Agent(name string, changes ...Change) Files {
	ca.t.Helper()
	agent := func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	cert, key := ca.issue(name, "spiffe://example.org/gracefleet/agent/"+name, append([]Change{agent}, changes...))
	return Files{Cert: cert, Key: key, CA: ca.File()}
}

// Client issues a client's certificate.
func (ca *CA) Client(role, name string, changes ...Change) tls.Certificate {
	ca.t.Helper()
	return ca.ClientFiles(role, name, changes...).Pair(ca.t)
}

// ClientFiles issues a client's certificate, too.
func (ca *CA) ClientFiles(role, name string, changes ...Change) Files {
	ca.t.Helper()
	cert, key := ca.issue(role+"-"+name, "spiffe://example.org/gracefleet/"+role+"/"+name, changes)
	return Files{Cert: cert, Key: key, CA: ca.File()}
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

func (ca *CA) issue(file, uri string, changes []Change) (cert, key string) {
	ca.t.Helper()
	id, err := url.Parse(uri)
	if err != nil {
		ca.t.Fatal(err)
	}
	ca.last++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(ca.last), Subject: pkix.Name{CommonName: file}, URIs: []*url.URL{id}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	for _, change := range changes {
		change(template)
	}
	own := newKey(ca.t)
	signed := ca.sign(template, own, ca.cert, ca.key)
	der, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		ca.t.Fatal(err)
	}
	return ca.write(file+".pem", "CERTIFICATE", signed.Raw), ca.write(file+".key", "PRIVATE KEY", der)
}

// Revoke makes the list of revoked certificates, and returns its path.
func (ca *CA) Revoke(revoked ...tls.Certificate) string {
	ca.t.Helper()
	ca.last++
	list := &x509.RevocationList{Number: big.NewInt(ca.last), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return ca.write("crl.pem", "X509 CRL", der)
}

// Pool is what trusts the issuer.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

func (ca *CA) sign(template *x509.Certificate, key *ecdsa.PrivateKey, parent *x509.Certificate, by *ecdsa.PrivateKey) *x509.Certificate {
	ca.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		ca.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return c
}

// write replaces a file, at once.
func (ca *CA) write(name, kind string, der []byte) string {
	ca.t.Helper()
	path := filepath.Join(ca.dir, name)
	if err := os.WriteFile(path+".tmp", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		ca.t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		ca.t.Fatal(err)
	}
	return path
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
