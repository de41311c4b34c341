package certs

import (
	"crypto/x509"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gracefleet/gracefleet/internal/identity"
)

func certFor(at time.Time, life time.Duration) *x509.Certificate {
	return &x509.Certificate{NotBefore: at.Add(-identity.Skew), NotAfter: at.Add(life)}
}

// However long a certificate lasts and whatever chance says, it is renewed with a
// third of its time left, and there is time for several attempts.
func TestSchedule(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		life := time.Duration(rapid.Int64Range(int64(10*time.Second), int64(10*365*24*time.Hour)).Draw(t, "life"))
		spread, luck := rapid.Float64Range(0, 1).Draw(t, "spread"), rapid.Float64Range(0, 1).Draw(t, "chance")
		cert := certFor(at, life)
		due := dueAt(cert, spread).Sub(at)
		if due < life*6/10 || due > life*2/3 {
			t.Fatalf("of %v it is due after %v", life, due)
		}
		if u := urgency(at, cert.NotAfter, at.Add(due)); u > Fine {
			t.Fatalf("when it is due it is complained about already")
		}
		wait := waitAfter(cert, 0, luck)
		if wait < leastWait*9/10 || wait > contactEvery*11/10 {
			t.Fatalf("of %v the next contact is after %v", life, wait)
		}
		left := life / 3
		for failures := 1; failures <= 5; failures++ {
			retry := waitAfter(cert, failures, luck)
			if retry < leastWait*9/10 || retry > contactEvery*11/10 {
				t.Fatalf("of %v after %d failures it waits %v", life, failures, retry)
			}
			if left -= retry; life > 20*time.Second && left < 0 {
				t.Fatalf("of %v there is no time for %d attempts", life, failures)
			}
		}
	})
}

func TestUrgency(t *testing.T) {
	const day = 24 * time.Hour
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		life, left time.Duration
		want       Urgency
	}{
		{90 * day, 31 * day, Fine},
		{90 * day, 29 * day, InTime},
		{90 * day, 7*day - time.Hour, Soon},
		{90 * day, day - time.Hour, Now},
		{90 * day, -day, Now},
		{3652 * day, 31 * day, Fine},
		{3652 * day, 29 * day, InTime},
		{30 * day, 20 * day, Fine}, // a list that the CA signs anew with 20 days left
		{30 * day, 9 * day, InTime},
		{time.Hour, 30 * time.Minute, Fine}, // as SPIRE issues them
		{time.Hour, 19 * time.Minute, InTime},
		{time.Hour, 4 * time.Minute, Soon},
		{time.Hour, 30 * time.Second, Now},
	} {
		end := start.Add(row.life)
		if got := urgency(start, end, end.Add(-row.left)); got != row.want {
			t.Errorf("of %v with %v left the urgency is %d, want %d", row.life, row.left, got, row.want)
		}
	}
}
