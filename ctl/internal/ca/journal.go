package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/internal/identity"
)

var serialForm = regexp.MustCompile(`^[0-9a-f]{32,40}$`)

// Entry is what the journal knows of one certificate.
type Entry struct {
	Serial    string    `json:"serial"`
	Role      string    `json:"role"`
	Name      string    `json:"name"`
	Hosts     []string  `json:"hosts,omitempty"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	RevokedAt time.Time `json:"revoked_at,omitzero"`
	Reason    string    `json:"reason,omitempty"`
}

// State is what a certificate is worth.
type State string

// States of a certificate.
const (
	Valid   State = "valid"
	Expired State = "expired"
	Revoked State = "revoked"
	Early   State = "not-yet-valid"
)

// State at a time. A revoked certificate stays revoked.
func (e Entry) State(now time.Time) State {
	if !e.RevokedAt.IsZero() {
		return Revoked
	}
	return validity(e.NotBefore, e.NotAfter, now)
}

func validity(start, end, now time.Time) State {
	switch {
	case now.After(end):
		return Expired
	case now.Before(start):
		return Early
	}
	return Valid
}

func entryOf(cert *x509.Certificate, id identity.ID) Entry {
	return Entry{
		Serial: FormatSerial(cert.SerialNumber), Role: id.Role, Name: id.Name, Hosts: HostsOf(cert),
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
	}
}

// parseJournal reads a journal.
func parseJournal(data []byte) ([]Entry, error) {
	seen := map[string]int{}
	return parseLines(data, func(n int, e Entry) error {
		if err := e.check(); err != nil {
			return err
		}
		if first := seen[e.Serial]; first > 0 {
			return fmt.Errorf("serial %s stands in line %d already", e.Serial, first)
		}
		seen[e.Serial] = n
		return nil
	})
}

// check says what cannot be in an entry.
func (e Entry) check() error {
	if !serialForm.MatchString(e.Serial) {
		return fmt.Errorf("serial %q: 32 hexadecimal digits are expected", e.Serial)
	}
	if err := errors.Join(checkForm("role", e.Role), checkForm("name", e.Name)); err != nil {
		return err
	}
	if hosts, err := ParseHosts(e.Hosts); err != nil || !slices.Equal(hosts, e.Hosts) {
		return fmt.Errorf("hosts %q are not as they are written", e.Hosts)
	}
	for _, t := range []time.Time{e.NotBefore, e.NotAfter, e.RevokedAt} {
		if t.Year() > 9999 || t.Location() != time.UTC {
			return fmt.Errorf("time %v is not in UTC", t)
		}
	}
	switch {
	case e.NotBefore.IsZero() || !e.NotAfter.After(e.NotBefore):
		return errors.New("not_after must be after not_before")
	case e.Reason != "" && e.RevokedAt.IsZero():
		return errors.New("a reason without revoked_at")
	}
	return nil
}

// minSerial is how many digits name a certificate: a slip of the finger must not.
const minSerial = 8

// IsSerial says whether a text can be meant as a serial number, or its beginning.
func IsSerial(text string) bool {
	digits := plainSerial(text)
	return len(digits) >= minSerial && len(digits) <= 40 && strings.Trim(digits, "0123456789abcdef") == ""
}

// plainSerial brings the forms in which other tools print serial numbers into ours.
func plainSerial(text string) string {
	return strings.ToLower(strings.ReplaceAll(text, ":", ""))
}

// find is the place of the one certificate that a serial number, or its
// beginning, stands for.
func find(entries []Entry, text string) (int, error) {
	digits, found := plainSerial(text), -1
	for i, e := range entries {
		// Other tools leave out zeros at the front.
		if strings.TrimLeft(e.Serial, "0") == strings.TrimLeft(digits, "0") {
			return i, nil
		}
		if !strings.HasPrefix(e.Serial, digits) {
			continue
		}
		if found >= 0 {
			return -1, fmt.Errorf("%s stands for several certificates: give more digits", text)
		}
		found = i
	}
	if found < 0 {
		return -1, fmt.Errorf("this CA has issued no certificate %s: see gracectl cert list", text)
	}
	return found, nil
}
