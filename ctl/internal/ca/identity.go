package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// identityForm is how an identity is described to people.
const identityForm = "spiffe://TRUST-DOMAIN/gracefleet/ROLE/NAME"

// Identity is who a certificate is for.
type Identity struct {
	TrustDomain, Role, Name string
}

// URI is the identity as it stands in a certificate.
func (i Identity) URI() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: i.TrustDomain, Path: "/gracefleet/" + i.Role + "/" + i.Name}
}

// Agent says whether it is the identity of an agent.
func (i Identity) Agent() bool { return i.Role == AgentRole }

// IdentityOf reads the identity in a certificate.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 {
		return Identity{}, fmt.Errorf("has %d URIs where one is expected: %s", len(cert.URIs), identityForm)
	}
	uri := cert.URIs[0]
	parts := strings.Split(uri.Path, "/")
	if uri.Scheme != "spiffe" || len(parts) != 4 || parts[1] != "gracefleet" {
		return Identity{}, fmt.Errorf("has the URI %s where one of the form %s is expected", uri, identityForm)
	}
	id := Identity{TrustDomain: uri.Host, Role: parts[2], Name: parts[3]}
	err := errors.Join(CheckTrustDomain(id.TrustDomain), checkForm("role", id.Role), checkForm("name", id.Name))
	// What is left over, such as a port or a query, would be another's identity.
	if err != nil || id.URI().String() != uri.String() {
		return Identity{}, fmt.Errorf("has the URI %s where one of the form %s is expected", uri, identityForm)
	}
	return id, nil
}
