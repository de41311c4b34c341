package ca

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/gracefleet/gracefleet/internal/identity"
)

const maxTrustDomain = 255

// fileNames are taken: NAME.pem would be another file than a certificate.
var fileNames = []string{"ca", "crl"}

// CheckName says what is wrong with the name of a client or an agent.
func CheckName(name string) error {
	if slices.Contains(fileNames, name) {
		return fmt.Errorf("name %q is taken by the file %s.pem", name, name)
	}
	return checkForm("name", name)
}

// CheckRole says what is wrong with the role of a client.
func CheckRole(role string) error {
	switch role {
	case identity.AgentRole:
		return errors.New("role agent is for agents alone: issue --agent NAME")
	case identity.AuthorityRole:
		return errors.New("role authority is for the CA's own service alone: gracectl cert serve")
	}
	return checkForm("role", role)
}

func checkForm(what, text string) error {
	if !identity.ValidName(text) {
		return fmt.Errorf("%s %q: use 1 to 63 of a-z, 0-9, '.', '_' and '-', with a letter or digit first and last", what, text)
	}
	return nil
}

// CheckTrustDomain says what is wrong with a trust domain. SPIFFE would allow
// more: what cannot be a host name or is an address cannot be held to a URI
// constraint.
func CheckTrustDomain(domain string) error {
	switch {
	case domain == "":
		return errors.New("trust domain is empty: use a name that is yours, such as example.org")
	case len(domain) > maxTrustDomain:
		return fmt.Errorf("trust domain has %d characters, of at most %d", len(domain), maxTrustDomain)
	case !identity.ValidTrustDomain(domain):
		return fmt.Errorf("trust domain %q: use a-z, 0-9, '.', '_' and '-' alone, such as example.org", domain)
	}
	if _, err := netip.ParseAddr(domain); err == nil {
		return fmt.Errorf("trust domain %q is an address: use a name, such as example.org", domain)
	}
	return checkLabels("trust domain", domain)
}

func checkLabels(what, domain string) error {
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("%s %q: each part between dots has 1 to 63 characters", what, domain)
		}
	}
	return nil
}
