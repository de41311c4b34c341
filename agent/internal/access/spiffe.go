package access

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// ID is an identity that a certificate carries as a URI:
// spiffe://TRUST-DOMAIN/gracefleet/ROLE/NAME.
type ID struct {
	TrustDomain, Role, Name string
}

// String is the URI.
func (i ID) String() string {
	return "spiffe://" + i.TrustDomain + "/gracefleet/" + i.Role + "/" + i.Name
}

// trustDomainForm is SPIFFE's, section 2.1 of its ID specification.
var trustDomainForm = regexp.MustCompile(`\A[a-z0-9._-]{1,255}\z`)

// ErrNoID is the answer for a certificate that carries no SPIFFE identity.
var ErrNoID = errors.New("the certificate carries no spiffe:// identity")

// ParseID reads an identity. Only one spelling of each is taken.
func ParseID(uri string) (ID, error) {
	rest, ok := strings.CutPrefix(uri, "spiffe://")
	domain, path, found := strings.Cut(rest, "/")
	parts := strings.Split(path, "/")
	if !ok || !found || !trustDomainForm.MatchString(domain) || len(parts) != 3 || parts[0] != "gracefleet" ||
		!nameForm.MatchString(parts[1]) || !nameForm.MatchString(parts[2]) {
		return ID{}, fmt.Errorf("%q is not spiffe://TRUST-DOMAIN/gracefleet/ROLE/NAME", uri)
	}
	return ID{TrustDomain: domain, Role: parts[1], Name: parts[2]}, nil
}

// idOf is the one identity among a certificate's URIs. Two are no identity, since
// nobody could say which of them was meant.
func idOf(uris []*url.URL) (ID, error) {
	var found []string
	for _, u := range uris {
		if strings.EqualFold(u.Scheme, "spiffe") {
			found = append(found, u.String())
		}
	}
	switch len(found) {
	case 0:
		return ID{}, ErrNoID
	case 1:
		return ParseID(found[0])
	}
	return ID{}, fmt.Errorf("the certificate carries %d spiffe:// identities: there may be one", len(found))
}

// AgentID is the identity of an agent's own certificate.
func AgentID(c *x509.Certificate) (ID, error) {
	id, err := idOf(c.URIs)
	if err == nil && id.Role != AgentRole {
		err = fmt.Errorf("%s is not an agent's: agents have the role %q", id, AgentRole)
	}
	return id, err
}
