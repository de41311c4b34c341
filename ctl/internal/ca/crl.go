package ca

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/internal/wholefile"
)

// crlLifetime is how long a list may be relied on.
const crlLifetime = 30 * day

// reasonCodes of RFC 5280, section 5.3.1, that fit who is not a CA and does not
// come back. A reason in other words goes to the journal alone.
var reasonCodes = map[string]int{
	"keycompromise":        1,
	"affiliationchanged":   3,
	"superseded":           4,
	"cessationofoperation": 5,
	"privilegewithdrawn":   9,
}

func reasonCode(text string) int {
	return reasonCodes[strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(text))]
}

// CRL is what a revocation list says of itself.
type CRL struct {
	Path       string
	Number     *big.Int
	ThisUpdate time.Time
	NextUpdate time.Time
	Revoked    int
}

// CRL reads the list; nil when there is none.
func (a *Authority) CRL() (*CRL, error) {
	list, err := a.readCRL()
	if err != nil || list == nil {
		return nil, err
	}
	return a.summary(list), nil
}

func (a *Authority) summary(list *x509.RevocationList) *CRL {
	return &CRL{
		Path: a.Path(CRLFile), Number: list.Number, ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate,
		Revoked: len(list.RevokedCertificateEntries),
	}
}

// readCRL reads the list; nil when there is none, which loses nothing: the
// journal has what was on it.
func (a *Authority) readCRL() (*x509.RevocationList, error) {
	path := a.Path(CRLFile)
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := parseCRL(data)
	if err == nil {
		err = list.CheckSignatureFrom(a.cert)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: move it away, gracectl cert crl makes it anew from the journal", path, err)
	}
	return list, nil
}

// List is the revocation list as DER. It is signed anew when it is a third of its
// time old, or lacks what the journal has.
func List(ctx context.Context, dir string) ([]byte, error) {
	a, err := Open(dir)
	if err != nil {
		return nil, err
	}
	list, err := a.readCRL()
	if err != nil || list != nil && a.current(list, time.Now()) {
		return der(list), err
	}
	s, err := Lock(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if _, err := s.RefreshCRL(); err != nil {
		return nil, err
	}
	list, err = s.readCRL()
	return der(list), err
}

func der(list *x509.RevocationList) []byte {
	if list == nil {
		return nil
	}
	return list.Raw
}

// current says whether a list can be given out.
func (a *Authority) current(list *x509.RevocationList, now time.Time) bool {
	on := map[string]bool{}
	for _, e := range list.RevokedCertificateEntries {
		on[FormatSerial(e.SerialNumber)] = true
	}
	for _, e := range a.journal {
		if !e.RevokedAt.IsZero() && !on[e.Serial] {
			return false
		}
	}
	return list.NextUpdate.Sub(now) > crlLifetime*2/3
}

// RefreshCRL signs the list anew.
func (s *Signer) RefreshCRL() (*CRL, error) {
	old, err := s.readCRL()
	if err != nil {
		return nil, err
	}
	data, err := signCRL(old, s.cert, s.key, s.journal, s.now())
	if err != nil {
		return nil, err
	}
	list, err := parseCRL(data)
	if err != nil {
		return nil, err
	}
	return s.summary(list), wholefile.Replace(s.Path(CRLFile), data, 0o644)
}

// signCRL makes the list of all that was revoked, by the journal or by the list
// before: nothing comes off it.
func signCRL(old *x509.RevocationList, cert *x509.Certificate, key *ecdsa.PrivateKey, journal []Entry, now time.Time) ([]byte, error) {
	revoked, err := revocations(old, journal)
	if err != nil {
		return nil, err
	}
	now = now.Truncate(time.Second).UTC()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number:                    nextNumber(old, now),
		ThisUpdate:                now.Add(-skew),
		NextUpdate:                now.Add(crlLifetime),
		RevokedCertificateEntries: revoked,
	}, cert, key)
	if err != nil {
		return nil, err
	}
	return encode(crlBlock, der), nil
}

func revocations(old *x509.RevocationList, journal []Entry) ([]x509.RevocationListEntry, error) {
	var all []x509.RevocationListEntry
	known := map[string]bool{}
	for _, e := range journal {
		if e.RevokedAt.IsZero() {
			continue
		}
		serial, ok := new(big.Int).SetString(e.Serial, 16)
		if !ok {
			return nil, fmt.Errorf("serial %q is no number", e.Serial)
		}
		known[e.Serial] = true
		all = append(all, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: e.RevokedAt.Truncate(time.Second), ReasonCode: reasonCode(e.Reason)})
	}
	if old == nil {
		return all, nil
	}
	for _, e := range old.RevokedCertificateEntries {
		if !known[FormatSerial(e.SerialNumber)] {
			all = append(all, x509.RevocationListEntry{SerialNumber: e.SerialNumber, RevocationTime: e.RevocationTime, ReasonCode: e.ReasonCode})
		}
	}
	return all, nil
}

// nextNumber rises with every list, and with the clock: also after the list was
// lost, or an older one brought back from a backup.
func nextNumber(old *x509.RevocationList, now time.Time) *big.Int {
	n := big.NewInt(now.Unix())
	if old == nil || old.Number == nil || old.Number.Cmp(n) < 0 {
		return n
	}
	return n.Add(old.Number, big.NewInt(1))
}
