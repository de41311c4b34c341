package ca

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/gracefleet/gracefleet/internal/identity"
)

const caLifetime = 3652 * day // ten years

// caTemplate is the certificate of a CA that signs only certificates of its trust
// domain, and no other CA. Its name has a part of its key, so that two CAs of one
// trust domain are told apart.
func caTemplate(trustDomain string, key *ecdsa.PublicKey, now time.Time) (*x509.Certificate, error) {
	point, err := key.Bytes()
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(point)
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	start := now.Add(-skew).Truncate(time.Second).UTC()
	return &x509.Certificate{
		SerialNumber:                serial,
		Subject:                     pkix.Name{CommonName: fmt.Sprintf("gracefleet CA %x", id[:4])},
		NotBefore:                   start,
		NotAfter:                    start.Add(skew + caLifetime),
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid:       true,
		IsCA:                        true,
		MaxPathLenZero:              true,
		SubjectKeyId:                id[:20],
		URIs:                        []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
		PermittedURIDomains:         []string{trustDomain},
		PermittedDNSDomainsCritical: true, // of all name constraints
	}, nil
}

// leafTemplate is the certificate of a client, an agent or the CA's own service. An
// agent is a client too: of other agents, and of that service.
func leafTemplate(id identity.ID, hosts []string, start, end time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: id.Name},
		NotBefore:             start,
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{id.URI()},
	}
	if id.Role == identity.AuthorityRole {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	if !id.Agent() {
		return t, nil
	}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, host := range hosts {
		if addr, err := netip.ParseAddr(host); err == nil {
			t.IPAddresses = append(t.IPAddresses, net.IP(addr.AsSlice()))
			continue
		}
		t.DNSNames = append(t.DNSNames, host)
	}
	return t, nil
}

// HostsOf are the names and addresses in a certificate.
func HostsOf(cert *x509.Certificate) []string {
	hosts := append([]string{}, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return hosts
}

// newSerial is a serial number of 128 random bits.
func newSerial() (*big.Int, error) {
	for {
		n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
		if err != nil || n.Sign() > 0 {
			return n, err
		}
	}
}

// FormatSerial is a serial number as it is printed and recorded.
func FormatSerial(n *big.Int) string { return fmt.Sprintf("%032x", n) }
