package identity

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// AgentRole is the role of agents. Nobody else may have it, or a client could pass
// for an agent.
const AgentRole = "agent"

// AuthorityRole is the role of the CA's own service, to which alone a join token's
// secret may be told: nobody else may have it either.
const AuthorityRole = "authority"

// AuthorityName is the name of the CA's own service.
const AuthorityName = "ca"

// Skew is how long before it is issued a certificate of gracectl cert begins, for
// hosts whose clocks are behind.
const Skew = 5 * time.Minute

// Form is an identity as it is described to people.
const Form = "spiffe://TRUST-DOMAIN/gracefleet/ROLE/NAME"

var (
	nameForm = regexp.MustCompile(`\A[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?\z`)
	// SPIFFE-ID, section 2.1.
	trustDomainForm = regexp.MustCompile(`\A[a-z0-9._-]{1,255}\z`)
)

// ID is who a certificate says its owner is, in one URI.
type ID struct {
	TrustDomain, Role, Name string
}

// URI is the identity as it stands in a certificate.
func (i ID) URI() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: i.TrustDomain, Path: "/gracefleet/" + i.Role + "/" + i.Name}
}

// String is the URI's text.
func (i ID) String() string { return i.URI().String() }

// Agent says whether it is the identity of an agent.
func (i ID) Agent() bool { return i.Role == AgentRole }

// Parse reads an identity. Only one spelling of each is taken: what would be left
// over, such as a port or a query, would be another's.
func Parse(uri string) (ID, error) {
	rest, ok := strings.CutPrefix(uri, "spiffe://")
	domain, path, found := strings.Cut(rest, "/")
	parts := strings.Split(path, "/")
	if !ok || !found || !ValidTrustDomain(domain) || len(parts) != 3 || parts[0] != "gracefleet" || !ValidName(parts[1]) || !ValidName(parts[2]) {
		return ID{}, fmt.Errorf("%q is not %s", uri, Form)
	}
	return ID{TrustDomain: domain, Role: parts[1], Name: parts[2]}, nil
}

// ValidName says whether a text can be a role or a name.
func ValidName(text string) bool { return nameForm.MatchString(text) }

// ValidTrustDomain says whether a text can be a trust domain.
func ValidTrustDomain(text string) bool { return trustDomainForm.MatchString(text) }
