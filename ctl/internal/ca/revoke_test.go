package ca

import (
	"crypto/x509"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/internal/wholefile"
)

func list(t *testing.T, s *Signer) *x509.RevocationList {
	t.Helper()
	l, err := s.readCRL()
	if err != nil || l == nil {
		t.Fatalf("%v, %v", l, err)
	}
	return l
}

func on(l *x509.RevocationList, serial *big.Int) *x509.RevocationListEntry {
	for i, e := range l.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(serial) == 0 {
			return &l.RevokedCertificateEntries[i]
		}
	}
	return nil
}

func TestRevoke(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s := setUp(t, now)
	number := list(t, s).Number
	for reason, code := range map[string]int{
		"": 0, "left the team": 0, "keyCompromise": 1, "key-compromise": 1, "KEY_COMPROMISE": 1, "superseded": 4, "cessation of operation": 5,
		"privilege-withdrawn": 9, "affiliationChanged": 3, "certificateHold": 0, "cACompromise": 0,
	} {
		cert, _ := issue(t, s, alice)
		r, err := s.RevokeCertificate(cert, reason)
		if err != nil || r.Before || r.Reason != reason || r.State(now) != Revoked {
			t.Fatalf("%q: %+v, %v", reason, r, err)
		}
		l := list(t, s)
		e := on(l, cert.SerialNumber)
		if e == nil || e.ReasonCode != code || !e.RevocationTime.Equal(now) {
			t.Errorf("%q: %+v", reason, e)
		}
		if l.Number.Cmp(number) <= 0 || !l.NextUpdate.Equal(now.Add(30*day)) || r.CRL.Number.Cmp(l.Number) != 0 {
			t.Errorf("number %v after %v, until %v", l.Number, number, l.NextUpdate)
		}
		number = l.Number
		if at, why, err := s.Revocation(cert.SerialNumber); err != nil || !at.Equal(now) || why != reason {
			t.Errorf("%v %q %v", at, why, err)
		}
	}
	if l := list(t, s); len(l.RevokedCertificateEntries) != 11 {
		t.Errorf("%d on the list", len(l.RevokedCertificateEntries))
	}
	reopen := func() *Authority { a, _ := Open(s.Dir()); return a }
	if a := reopen(); a == nil || a.Entries()[3].State(now) != Revoked {
		t.Error("the journal forgot")
	}
}

func TestRevokeBySerial(t *testing.T) {
	s := setUp(t, time.Now())
	cert, _ := issue(t, s, alice)
	other, _ := issue(t, s, alice)
	serial := FormatSerial(cert.SerialNumber)
	colons := strings.ToUpper(serial[:2] + ":" + serial[2:4] + ":" + serial[4:6] + ":" + serial[6:8] + ":" + serial[8:])
	for _, text := range []string{serial, serial[:8], strings.ToUpper(serial), colons, strings.TrimLeft(serial, "0")} {
		if !IsSerial(text) {
			t.Errorf("%s is no serial number", text)
		}
		if r, err := s.RevokeSerial(text, "x"); err != nil || r.Serial != serial {
			t.Errorf("%s: %+v, %v", text, r, err)
		}
	}
	if _, err := s.RevokeSerial("00000000000000000000000000000000", ""); err == nil || !strings.Contains(err.Error(), "gracectl cert list") {
		t.Errorf("%v", err)
	}
	for _, text := range []string{serial[:7], "alice.pem", "", strings.Repeat("a", 41), "0x" + serial} {
		if IsSerial(text) {
			t.Errorf("%s passes for a serial number", text)
		}
	}
	if at, _, err := s.Revocation(other.SerialNumber); err != nil || !at.IsZero() {
		t.Errorf("the wrong one: %v, %v", at, err)
	}
	same := []Entry{{Serial: "aaaaaaaa1"}, {Serial: "aaaaaaaa2"}}
	if _, err := find(same, "aaaaaaaa"); err == nil || !strings.Contains(err.Error(), "several") {
		t.Errorf("%v", err)
	}
}

func TestRevokeTwice(t *testing.T) {
	now := time.Now()
	s := setUp(t, now)
	cert, _ := issue(t, s, alice)
	first, _ := s.RevokeCertificate(cert, "key-compromise")
	s.now = func() time.Time { return now.Add(day) }
	again, err := s.RevokeCertificate(cert, "other")
	if err != nil || !again.Before || !again.RevokedAt.Equal(first.RevokedAt) || again.Reason != "key-compromise" || again.CRL.Number.Cmp(first.CRL.Number) <= 0 {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestRevokeRefuses(t *testing.T) {
	s, other := setUp(t, time.Now()), setUp(t, time.Now())
	foreign, _ := issue(t, other, alice)
	for _, cert := range []*x509.Certificate{foreign, s.cert} {
		if _, err := s.RevokeCertificate(cert, ""); err == nil || !strings.Contains(err.Error(), "has not issued it") {
			t.Errorf("%v", err)
		}
	}
	cert, _ := issue(t, s, alice)
	if _, err := s.RevokeCertificate(cert, strings.Repeat("x", 501)); err == nil {
		t.Error("a novel is no reason")
	}
	write(t, s.Path(CRLFile), "x")
	if _, err := s.RevokeCertificate(cert, ""); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("%v", err)
	}
	data, _ := os.ReadFile(other.Path(CRLFile))
	write(t, s.Path(CRLFile), string(data))
	if _, err := s.RefreshCRL(); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("another CA's list: %v", err)
	}
}

// Whichever of the two is lost or old, what was revoked stays revoked, and the
// number rises.
func TestRevocationsOutliveTheirFiles(t *testing.T) {
	now := time.Now()
	s := setUp(t, now)
	first, _ := issue(t, s, alice)
	empty, _ := os.ReadFile(s.Path(CRLFile))
	r, err := s.RevokeCertificate(first, "superseded")
	if err != nil {
		t.Fatal(err)
	}
	dir := s.Dir()
	s.Close()
	for _, accident := range []struct {
		what string
		lose func()
	}{
		{"the list was lost", func() { os.Remove(filepath.Join(dir, CRLFile)) }},
		{"the list is old", func() { write(t, filepath.Join(dir, CRLFile), string(empty)) }},
		{"a crash before the end", func() { write(t, filepath.Join(dir, wholefile.TempPrefix+"1"), "half") }},
		{"the journal was lost", func() { write(t, filepath.Join(dir, JournalFile), "") }},
	} {
		what := accident.what
		accident.lose()
		now = now.Add(time.Minute)
		s := reopen(t, dir, now)
		next, err := s.RefreshCRL()
		if err != nil || next.Number.Cmp(r.CRL.Number) <= 0 || next.Revoked != 1 || on(list(t, s), first.SerialNumber).ReasonCode != 4 {
			t.Errorf("%s: %+v, %v", what, next, err)
		}
		if at, _, err := s.Revocation(first.SerialNumber); err != nil || at.IsZero() {
			t.Errorf("%s: %v, %v", what, at, err)
		}
		s.Close()
	}
	s = reopen(t, dir, now)
	if _, err := s.RevokeCertificate(first, ""); err != nil || len(s.journal) != 1 {
		t.Errorf("%v, %v", s.journal, err)
	}
}

func TestNumbersRiseWithTheClock(t *testing.T) {
	now := time.Unix(1000, 0)
	for old, want := range map[int64]int64{0: 1000, 999: 1000, 1000: 1001, 5000: 5001} {
		if got := nextNumber(&x509.RevocationList{Number: big.NewInt(old)}, now); got.Int64() != want {
			t.Errorf("after %d comes %v", old, got)
		}
	}
	if got := nextNumber(nil, now); got.Int64() != 1000 {
		t.Errorf("first %v", got)
	}
}
