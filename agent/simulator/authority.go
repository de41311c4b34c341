package main

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
)

// trustDomain is that of all who take part.
const trustDomain = "simulated.example"

// validity is how long certificates count: the fleet lives shorter.
const validity = 365 * 24 * time.Hour

// authority issues the certificates of the fleet into a directory. gracectl cert is
// the one for real agents.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64 // serial number
}

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, key: key}
	template := a.template("simulated CA")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return a, a.write(a.file("ca.pem"), pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) template(name string) *x509.Certificate {
	a.last++
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.last), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(validity),
	}
}

// agent issues the certificate of an agent, in one file with its key.
func (a *authority) agent(name string, ip net.IP) (file string, err error) {
	template := a.template(name)
	template.IPAddresses = []net.IP{ip}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	cert, key, err := a.issue(template, "agent", name)
	file = a.file(name + ".pem")
	if err == nil {
		err = a.write(file, cert, key)
	}
	return file, err
}

// operator issues the certificate of the one who will use the fleet: operator.pem
// and operator.key.
func (a *authority) operator() error {
	template := a.template("operator")
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	cert, key, err := a.issue(template, "admin", "operator")
	if err == nil {
		err = a.write(a.file("operator.pem"), cert)
	}
	if err == nil {
		err = a.write(a.file("operator.key"), key)
	}
	return err
}

func (a *authority) issue(template *x509.Certificate, role, name string) (cert, key pem.Block, err error) {
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.URIs = []*url.URL{{Scheme: "spiffe", Host: trustDomain, Path: "/gracefleet/" + role + "/" + name}}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, key, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, own.Public(), a.key)
	if err != nil {
		return cert, key, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	return pem.Block{Type: "CERTIFICATE", Bytes: der}, pem.Block{Type: "PRIVATE KEY", Bytes: secret}, err
}

func (a *authority) write(file string, blocks ...pem.Block) error {
	var text []byte
	for i := range blocks {
		text = append(text, pem.EncodeToMemory(&blocks[i])...)
	}
	return os.WriteFile(file, text, 0o600)
}
