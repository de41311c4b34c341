package ca

import (
	"crypto/x509"
	"fmt"

	"github.com/gracefleet/gracefleet/internal/identity"
)

// IdentityOf reads the identity in a certificate.
func IdentityOf(cert *x509.Certificate) (identity.ID, error) {
	if len(cert.URIs) != 1 {
		return identity.ID{}, fmt.Errorf("has %d URIs where one is expected: %s", len(cert.URIs), identity.Form)
	}
	id, err := identity.Parse(cert.URIs[0].String())
	if err == nil {
		err = CheckTrustDomain(id.TrustDomain)
	}
	if err != nil {
		return identity.ID{}, fmt.Errorf("has the URI %s where one of the form %s is expected", cert.URIs[0], identity.Form)
	}
	return id, nil
}
