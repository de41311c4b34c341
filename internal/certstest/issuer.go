package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/gracefleet/gracefleet/internal/identity"
)

// Issuer issues certificates into a directory. One goroutine uses it.
type Issuer struct {
	dir, domain string
	cert        *x509.Certificate
	key         *ecdsa.PrivateKey
	last        int64 // serial number
}

// Files are the paths of a certificate, its key and the issuer; Revoked is empty
// until somebody sets it.
type Files struct {
	Cert, Key, CA, Revoked string
}

// Change makes a certificate different from what it ought to be.
type Change func(c *x509.Certificate)

// NewIssuer makes the issuer of a trust domain.
func NewIssuer(dir, domain string) (*Issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	i := &Issuer{dir: dir, domain: domain, key: key, last: 1}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if i.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return i, i.write("ca.pem", "CERTIFICATE", der)
}

// File is the path of the issuer's certificate.
func (i *Issuer) File() string { return i.path("ca.pem") }

// Agent issues an agent's certificate, for the loopback addresses and localhost.
func (i *Issuer) Agent(name string, changes ...Change) (Files, error) {
	agent := func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	return i.issue(name, identity.AgentRole, name, append([]Change{agent}, changes...))
}

// Client issues a client's certificate: FILE.pem and FILE.key.
func (i *Issuer) Client(file, role, name string, changes ...Change) (Files, error) {
	return i.issue(file, role, name, changes)
}

func (i *Issuer) issue(file, role, name string, changes []Change) (Files, error) {
	i.last++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(i.last), Subject: pkix.Name{CommonName: file}, KeyUsage: x509.KeyUsageDigitalSignature,
		URIs:        []*url.URL{identity.ID{TrustDomain: i.domain, Role: role, Name: name}.URI()},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	for _, change := range changes {
		change(template)
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Files{}, err
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, i.cert, own.Public(), i.key)
	if err != nil {
		return Files{}, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		return Files{}, err
	}
	if err := i.write(file+".pem", "CERTIFICATE", cert); err != nil {
		return Files{}, err
	}
	return Files{Cert: i.path(file + ".pem"), Key: i.path(file + ".key"), CA: i.File()}, i.write(file+".key", "PRIVATE KEY", key)
}

// revoke makes the list of revoked certificates, and returns its path.
func (i *Issuer) revoke(revoked ...*x509.Certificate) (path string, err error) {
	i.last++
	list := &x509.RevocationList{Number: big.NewInt(i.last), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, i.cert, i.key)
	if err != nil {
		return "", err
	}
	return i.path("crl.pem"), i.write("crl.pem", "X509 CRL", der)
}

func (i *Issuer) path(name string) string { return filepath.Join(i.dir, name) }

// write replaces a file, at once.
func (i *Issuer) write(name, kind string, der []byte) error {
	path := i.path(name)
	if err := os.WriteFile(path+".tmp", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
