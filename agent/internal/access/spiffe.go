package access

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/gracefleet/gracefleet/internal/identity"
)

// ErrNoID is the answer for a certificate that carries no SPIFFE identity.
var ErrNoID = errors.New("the certificate carries no spiffe:// identity")

// idOf is the one identity among a certificate's URIs. Two are no identity, since
// nobody could say which of them was meant.
func idOf(uris []*url.URL) (identity.ID, error) {
	var found []string
	for _, u := range uris {
		if strings.EqualFold(u.Scheme, "spiffe") {
			found = append(found, u.String())
		}
	}
	switch len(found) {
	case 0:
		return identity.ID{}, ErrNoID
	case 1:
		return identity.Parse(found[0])
	}
	return identity.ID{}, fmt.Errorf("the certificate carries %d spiffe:// identities: there may be one", len(found))
}

// AgentID is the identity of an agent's own certificate.
func AgentID(c *x509.Certificate) (identity.ID, error) {
	id, err := idOf(c.URIs)
	if err == nil && !id.Agent() {
		err = fmt.Errorf("%s is not an agent's: agents have the role %q", id, identity.AgentRole)
	}
	return id, err
}
