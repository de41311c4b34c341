package certs

import (
	"fmt"
	"time"
)

// Figures are what the files say of themselves.
type Figures struct {
	Identity            string // the URI in the agent's certificate; empty without one
	Serial              string // hexadecimal
	Issuer              string
	NotBefore, NotAfter time.Time
	CANotAfter          time.Time // of the first CA to end
	CRLNextUpdate       time.Time // of the first list to end; zero when none says
}

// Figures are those of now.
func (k *Keeper) Figures() Figures {
	s := k.now.Load()
	leaf := s.own.Leaf
	_, ca := s.ca()
	_, list := s.list()
	f := Figures{
		Serial: fmt.Sprintf("%032x", leaf.SerialNumber), Issuer: leaf.Issuer.String(), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
		CANotAfter: ca, CRLNextUpdate: list,
	}
	if len(leaf.URIs) > 0 {
		f.Identity = leaf.URIs[0].String()
	}
	return f
}

// ca is the time of the issuer that ends first.
func (s *snapshot) ca() (start, end time.Time) {
	for _, c := range s.issuers {
		if end.IsZero() || c.NotAfter.Before(end) {
			start, end = c.NotBefore, c.NotAfter
		}
	}
	return start, end
}

// list is the time of the revocation list that ends first; zero when none says.
func (s *snapshot) list() (start, end time.Time) {
	for _, l := range s.lists {
		if !l.NextUpdate.IsZero() && (end.IsZero() || l.NextUpdate.Before(end)) {
			start, end = l.ThisUpdate, l.NextUpdate
		}
	}
	return start, end
}

// Urgency is how soon something has to be seen to.
type Urgency int

// From nothing to be done to the last day.
const (
	Fine Urgency = iota
	InTime
	Soon
	Now
)

// stages are how long before an end each urgency begins. Of what is valid for a short
// time, certificates of an hour among it, it is a part.
var stages = []struct {
	urgency Urgency
	before  time.Duration
	part    time.Duration
}{
	{Now, 24 * time.Hour, 90},
	{Soon, 7 * 24 * time.Hour, 12},
	{InTime, 30 * 24 * time.Hour, 3},
}

// urgency of what is valid from start to end.
func urgency(start, end, now time.Time) Urgency {
	left := end.Sub(now)
	for _, s := range stages {
		if left < min(s.before, end.Sub(start)/s.part) {
			return s.urgency
		}
	}
	return Fine
}

// Warning is something to be seen to.
type Warning struct {
	Text    string
	Urgency Urgency
}

// Warnings say what ends soon, or has ended.
func (k *Keeper) Warnings(now time.Time) []Warning {
	s := k.now.Load()
	leaf := s.own.Leaf
	leafStart, _ := issued(leaf)
	caStart, caEnd := s.ca()
	listStart, listEnd := s.list()
	var out []Warning
	for _, w := range []struct {
		what       string
		start, end time.Time
		then       string
	}{
		{"the agent's certificate", leafStart, leaf.NotAfter, "renew " + k.files.Cert},
		{"the CA's certificate", caStart, caEnd, "make a new CA, and put its certificate into " + k.files.CA + " beside the old one"},
		{"the list of revoked certificates", listStart, listEnd, "renew " + k.files.Revoked + "; it holds still"},
	} {
		if w.end.IsZero() {
			continue
		}
		if u := urgency(w.start, w.end, now); u != Fine {
			out = append(out, Warning{Text: fmt.Sprintf("%s %s: %s", w.what, ends(w.end, now), w.then), Urgency: u})
		}
	}
	return out
}

func ends(end, now time.Time) string {
	left := end.Sub(now)
	switch {
	case left < 0:
		return "has ended on " + end.Format(time.RFC3339)
	case left < 48*time.Hour:
		return fmt.Sprintf("ends on %s, in %s", end.Format(time.RFC3339), left.Truncate(time.Second))
	}
	return fmt.Sprintf("ends on %s, in %d days", end.Format(time.RFC3339), int(left.Hours()/24))
}
