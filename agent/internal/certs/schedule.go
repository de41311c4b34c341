package certs

import (
	"crypto/x509"
	"math/rand/v2"
	"time"

	"github.com/gracefleet/gracefleet/internal/identity"
)

const (
	// contactEvery is how soon a revocation gets to the agent.
	contactEvery = time.Hour
	// firstRetry is the shortest wait after a contact that failed. It is doubled up to
	// contactEvery.
	firstRetry = time.Minute
	// leastWait bounds both for certificates of minutes.
	leastWait = time.Second
)

// issued is when a certificate was, and how long it is valid from then on.
func issued(cert *x509.Certificate) (at time.Time, life time.Duration) {
	if at = cert.NotBefore.Add(identity.Skew); !at.Before(cert.NotAfter) {
		at = cert.NotBefore
	}
	return at, cert.NotAfter.Sub(at)
}

// dueAt is when a certificate is to be renewed: when two thirds of its time are over,
// and by chance up to a twentieth of it before, lest a fleet asks all at once. spread
// is from 0 to 1.
func dueAt(cert *x509.Certificate, spread float64) time.Time {
	at, life := issued(cert)
	return at.Add(life*2/3 - time.Duration(spread*float64(life)/20))
}

// waitAfter is how long the next contact waits after some that failed in a row; 0
// after one that did not. chance is from 0 to 1.
func waitAfter(cert *x509.Certificate, failures int, chance float64) time.Duration {
	_, life := issued(cert)
	wait := min(max(life/30, leastWait), contactEvery)
	if failures > 0 {
		retry := min(max(life/1000, leastWait), firstRetry)
		wait = min(wait, retry<<min(failures-1, 10))
	}
	// A tenth more or less.
	return wait*9/10 + time.Duration(chance*float64(wait)/5)
}

// chance is from 0 to 1. Nobody gains by foreseeing it.
func chance() float64 { return rand.Float64() } //nolint:gosec // G404: it spreads load, no more
