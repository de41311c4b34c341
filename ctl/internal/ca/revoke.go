package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/gracefleet/gracefleet/internal/identity"
)

const maxReason = 500

// Revocation is what came of revoking.
type Revocation struct {
	Entry
	Before bool // it was revoked already
	CRL    *CRL
}

// CheckReason says what is wrong with a reason.
func CheckReason(text string) error {
	if !utf8.ValidString(text) || len(text) > maxReason {
		return fmt.Errorf("a reason is a text of at most %d bytes", maxReason)
	}
	return nil
}

// RevokeSerial revokes the certificate with a serial number, of which the first
// digits will do.
func (s *Signer) RevokeSerial(serial, reason string) (*Revocation, error) {
	i, err := find(s.journal, serial)
	if err != nil {
		return nil, err
	}
	return s.revoke(slices.Clone(s.journal), i, reason)
}

// RevokeCertificate revokes a certificate of this CA, also one that the journal
// does not know because it was lost.
func (s *Signer) RevokeCertificate(cert *x509.Certificate, reason string) (*Revocation, error) {
	if !s.Issued(cert) {
		return nil, errors.New("this CA has not issued it")
	}
	id, err := IdentityOf(cert)
	if err != nil {
		return nil, err
	}
	entries := slices.Clone(s.journal)
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Serial == FormatSerial(cert.SerialNumber) })
	if i < 0 {
		i, entries = len(entries), append(entries, entryOf(cert, id))
	}
	return s.revoke(entries, i, reason)
}

// RevokeAgent revokes every certificate of an agent that still counts, and its
// unused join token: an agent that renews itself has several. Nothing may be left of
// one whose key was stolen.
func (s *Signer) RevokeAgent(name, reason string) ([]Entry, *CRL, error) {
	if err := errors.Join(CheckName(name), CheckReason(reason)); err != nil {
		return nil, nil, err
	}
	if err := s.forget(name); err != nil {
		return nil, nil, err
	}
	entries := slices.Clone(s.journal)
	now := s.now().Truncate(time.Second).UTC()
	var revoked []Entry
	for i := range entries {
		e := &entries[i]
		if e.Role == identity.AgentRole && e.Name == name && e.State(now) != Expired && e.RevokedAt.IsZero() {
			e.RevokedAt, e.Reason = now, reason
			revoked = append(revoked, *e)
		}
	}
	if len(revoked) > 0 {
		if err := s.record(entries); err != nil {
			return nil, nil, err
		}
	}
	list, err := s.RefreshCRL()
	return revoked, list, err
}

// revoke changes the journal, then the list, which is made from it: cut off in
// between, the same command finishes, and so does the next list.
func (s *Signer) revoke(entries []Entry, i int, reason string) (*Revocation, error) {
	if err := CheckReason(reason); err != nil {
		return nil, err
	}
	e := &entries[i]
	before := !e.RevokedAt.IsZero()
	if !before {
		e.RevokedAt, e.Reason = s.now().Truncate(time.Second).UTC(), reason
		if err := s.record(entries); err != nil {
			return nil, err
		}
	}
	list, err := s.RefreshCRL()
	if err != nil {
		return nil, fmt.Errorf("the journal has the revocation, the list has not: %w", err)
	}
	return &Revocation{Entry: *e, Before: before, CRL: list}, nil
}
