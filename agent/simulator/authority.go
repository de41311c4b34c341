package main

import (
	"crypto/x509"
	"net"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/certs"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

// trustDomain is that of all who take part.
const trustDomain = "simulated.example"

// validity is how long certificates count: the fleet lives shorter.
const validity = 365 * 24 * time.Hour

// authority issues the certificates of the fleet into a directory. gracectl cert is
// the one for real agents.
type authority struct{ issuer *certstest.Issuer }

func newAuthority(dir string) (authority, error) {
	issuer, err := certstest.NewIssuer(dir, trustDomain)
	return authority{issuer}, err
}

// agent issues the certificate of an agent.
func (a authority) agent(name string, ip net.IP) (certs.Files, error) {
	files, err := a.issuer.Agent(name, lasting, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, []net.IP{ip} })
	return certs.Files(files), err
}

// operator issues the certificate of the one who will use the fleet: operator.pem
// and operator.key.
func (a authority) operator() error {
	_, err := a.issuer.Client("operator", "admin", "operator", lasting)
	return err
}

func lasting(c *x509.Certificate) { c.NotAfter = time.Now().Add(validity) }
