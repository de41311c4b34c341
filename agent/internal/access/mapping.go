package access

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gracefleet/gracefleet/internal/identity"
)

// Mapping gives a role to certificates of an organisation that has its own forms
// of names. All that is said must hold.
type Mapping struct {
	CommonName string `yaml:"common_name"`
	Unit       string `yaml:"unit"` // organizational unit
	Role       string `yaml:"role"`
}

func (m Mapping) matches(c *x509.Certificate) bool {
	if m.CommonName == "" && m.Unit == "" {
		return false
	}
	return (m.CommonName == "" || m.CommonName == c.Subject.CommonName) &&
		(m.Unit == "" || slices.Contains(c.Subject.OrganizationalUnit, m.Unit))
}

// maxCommonName is what RFC 5280 allows (appendix A.1, ub-common-name).
const maxCommonName = 64

// showable says whether a name can stand in logs, in history and on terminals.
func showable(name string) bool {
	return utf8.RuneCountInString(name) <= maxCommonName && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Identity is who a certificate says its owner is.
type Identity struct {
	Name string // how it is shown
	Role string
}

// IdentifyAgent reads the certificate of an agent of the same trust domain, whose chain
// was verified.
func (p *Policy) IdentifyAgent(c *x509.Certificate) (identity.ID, error) {
	id, err := AgentID(c)
	if err == nil && id.TrustDomain != p.TrustDomain {
		err = fmt.Errorf("%s is of another trust domain than this agent's, %q", id, p.TrustDomain)
	}
	return id, err
}

// Identify reads a certificate whose chain was verified. One with a SPIFFE
// identity is known by that alone; any other by the mappings, of which the first
// that matches counts.
func (p *Policy) Identify(c *x509.Certificate) (Identity, error) {
	id, err := idOf(c.URIs)
	switch {
	case err == nil && id.TrustDomain != p.TrustDomain:
		return Identity{}, fmt.Errorf("%s is of another trust domain than this agent's, %q", id, p.TrustDomain)
	case err == nil && id.Agent():
		return Identity{}, fmt.Errorf("%s is an agent's: it may not be a client", id)
	case err == nil:
		return Identity{Name: id.Role + "/" + id.Name, Role: id.Role}, nil
	case !errors.Is(err, ErrNoID):
		return Identity{}, err
	}
	for _, m := range p.Certificates {
		if m.matches(c) {
			if !showable(c.Subject.CommonName) {
				return Identity{}, fmt.Errorf("the common name %.80q is not at most %d printable characters", c.Subject.CommonName, maxCommonName)
			}
			return Identity{Name: m.Role + "/" + c.Subject.CommonName, Role: m.Role}, nil
		}
	}
	return Identity{}, fmt.Errorf("%w, and no mapping in graced.yaml knows CN=%q: give its owner a certificate with spiffe://%s/gracefleet/ROLE/NAME", err, c.Subject.CommonName, p.TrustDomain)
}
