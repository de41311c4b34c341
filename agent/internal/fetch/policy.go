package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/gracefleet/gracefleet/internal/link"
)

// maxPrefixes bounds what each URL is compared with.
const maxPrefixes = 100

// Policy is what a host fetches. Its zero value is nothing.
type Policy struct {
	from  []link.Link
	ca    string
	seeds bool
}

// NewPolicy lets a host fetch what is below prefixes, from servers with certificates
// of the system's issuers or those in a PEM file; ca may be empty. With seeds it fetches
// from agents, too, wherever whoever may push says that they are.
func NewPolicy(from []string, ca string, seeds bool) (*Policy, error) {
	p := &Policy{ca: ca, seeds: seeds}
	if len(from) > maxPrefixes {
		return nil, fmt.Errorf("fetch.from: %d prefixes, of at most %d", len(from), maxPrefixes)
	}
	for i, text := range from {
		l, err := link.Parse(text)
		if err == nil && !l.IsPrefix() {
			err = errors.New("does not end in a slash: only what is below it may be fetched")
		}
		if err != nil {
			return nil, fmt.Errorf("fetch.from[%d]: the URL %w", i, err)
		}
		p.from = append(p.from, l)
	}
	if ca != "" && !filepath.IsAbs(ca) {
		return nil, fmt.Errorf("fetch.ca: %q is not an absolute path", ca)
	}
	return p, nil
}

// allows says why a URL may not be fetched.
func (p *Policy) allows(l link.Link) error {
	switch {
	case slices.ContainsFunc(p.from, l.Below):
		return nil
	case len(p.from) == 0:
		return fmt.Errorf("%w: it fetches nothing; its administrator writes fetch: {from: [%q]} into graced.yaml to change that", ErrRefused, l.Parent())
	}
	return fmt.Errorf("%w: it is below none of %v; its administrator adds %q to fetch.from of graced.yaml to change that", ErrRefused, p.from, l.Parent())
}

func (p *Policy) allowsSeeds() error {
	if p.seeds {
		return nil
	}
	return fmt.Errorf("%w: it fetches nothing from other agents; its administrator writes fetch: {seeds: true} into graced.yaml to change that", ErrRefused)
}

// config is how servers prove themselves: the file is read for each fetch, so that
// a new one holds at once.
func (p *Policy) config() (*tls.Config, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("%w: the system's certificates: %w", ErrUnusable, err)
	}
	if p.ca == "" {
		return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
	}
	pem, err := os.ReadFile(p.ca)
	if err == nil && !roots.AppendCertsFromPEM(pem) {
		err = fmt.Errorf("%s holds no certificate in PEM form", p.ca)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: fetch.ca of graced.yaml: %w", ErrUnusable, err)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}
