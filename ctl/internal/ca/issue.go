package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/internal/identity"
	"github.com/gracefleet/gracefleet/internal/wholefile"
)

// Request is what a certificate is to say.
type Request struct {
	Role     string // identity.AgentRole for an agent
	Name     string
	Hosts    []string // of an agent: as ParseHosts returns them
	Lifetime time.Duration
}

// Issued is a certificate that was issued.
type Issued struct {
	Entry
	URI     string
	Limited bool // it ends with the CA, before the lifetime that was asked for
	Output  Output
}

// Issue makes a key and its certificate and writes both.
func (s *Signer) Issue(r Request, out Output) (*Issued, error) {
	err := CheckName(r.Name)
	if r.Role != identity.AgentRole {
		err = errors.Join(err, CheckRole(r.Role))
	}
	if err != nil {
		return nil, err
	}
	if (r.Role == identity.AgentRole) != (len(r.Hosts) > 0) {
		return nil, errors.New("an agent has hosts, and nobody else")
	}
	return s.deliver(r, out)
}

// Renew makes a certificate with a new key for whom an old one was issued, and
// puts both in place of the old. The old one stays valid until its end: whoever
// still has it is not cut off.
func (s *Signer) Renew(old *x509.Certificate, lifetime time.Duration, out Output) (*Issued, error) {
	r, err := s.renewal(old)
	if err != nil {
		return nil, err
	}
	r.Lifetime = lifetime
	return s.deliver(r, out)
}

// renewal asks for the same as an old certificate has.
func (s *Signer) renewal(old *x509.Certificate) (Request, error) {
	if !s.Issued(old) {
		return Request{}, errors.New("this CA has not issued it")
	}
	id, err := IdentityOf(old)
	if err != nil {
		return Request{}, err
	}
	at, _, err := s.Revocation(old.SerialNumber)
	if err != nil {
		return Request{}, err
	}
	if !at.IsZero() {
		return Request{}, fmt.Errorf("it was revoked at %s: gracectl cert issue makes another", at.Format(time.RFC3339))
	}
	return Request{Role: id.Role, Name: id.Name, Hosts: HostsOf(old), Lifetime: LifetimeOf(old)}, nil
}

// LifetimeOf is how long a certificate of ours was asked to be valid.
func LifetimeOf(cert *x509.Certificate) time.Duration {
	return max(time.Second, cert.NotAfter.Sub(cert.NotBefore)-skew)
}

// deliver writes the files in full, then the journal, and only then gives the
// files their names: nobody gets a certificate that the journal does not know.
func (s *Signer) deliver(r Request, out Output) (*Issued, error) {
	if err := s.checkConflicts(out); err != nil {
		return nil, err
	}
	now := s.now()
	start, end, err := s.period(r.Lifetime, now)
	if err != nil {
		return nil, err
	}
	id := identity.ID{TrustDomain: s.trustDomain, Role: r.Role, Name: r.Name}
	cert, key, err := s.make(id, r.Hosts, start, end, now)
	if err != nil {
		return nil, err
	}
	var b wholefile.Batch
	defer b.Discard()
	if err := s.stage(&b, out, cert, key); err != nil {
		return nil, err
	}
	entry := entryOf(cert, id)
	if err := s.record(append(slices.Clip(s.journal), entry)); err != nil {
		return nil, err
	}
	if err := b.Commit(); err != nil {
		return nil, err
	}
	limited := end.Equal(s.cert.NotAfter)
	return &Issued{Entry: entry, URI: id.URI().String(), Limited: limited, Output: out}, nil
}

func (s *Signer) checkConflicts(out Output) error {
	found, err := s.Conflicts(out)
	if err != nil || len(found) == 0 || out.Overwrite {
		return err
	}
	return fmt.Errorf("%s would be overwritten: allow it with -y", strings.Join(found, ", "))
}

// period is from when to when a certificate is valid: at most as long as the CA.
func (s *Signer) period(lifetime time.Duration, now time.Time) (start, end time.Time, err error) {
	now = now.Truncate(time.Second).UTC()
	switch validity(s.cert.NotBefore, s.cert.NotAfter, now) {
	case Expired:
		return start, end, fmt.Errorf("the CA expired at %s: make a new one, with gracectl cert init in another directory", s.cert.NotAfter.Format(time.RFC3339))
	case Early:
		return start, end, fmt.Errorf("the CA is valid from %s: is this machine's clock right?", s.cert.NotBefore.Format(time.RFC3339))
	}
	start, end = now.Add(-skew), now.Add(lifetime)
	if end.After(s.cert.NotAfter) {
		end = s.cert.NotAfter
	}
	return start, end, nil
}

func (s *Signer) make(id identity.ID, hosts []string, start, end, now time.Time) (cert *x509.Certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	cert, err = s.certify(id, hosts, &private.PublicKey, start, end, now)
	if err != nil {
		return nil, nil, err
	}
	key, err = EncodeKey(private)
	return cert, key, err
}

// certify makes the certificate of a key.
func (s *Signer) certify(id identity.ID, hosts []string, key *ecdsa.PublicKey, start, end, now time.Time) (*x509.Certificate, error) {
	template, err := leafTemplate(id, hosts, start, end)
	if err != nil {
		return nil, err
	}
	return s.sign(template, key, now)
}
