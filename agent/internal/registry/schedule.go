package registry

import (
	"math/rand/v2"
	"time"
)

const (
	// ttl is how long a host is registered whose agent is heard of no more.
	ttl = 30 * time.Second
	// renewEvery leaves two attempts before that.
	renewEvery = ttl / 3
	firstRetry = time.Second
	// callLimit is how long a member may take for one call.
	callLimit = 5 * time.Second
	// warnAfter is how long a host may be unregistered before people are told.
	warnAfter = 3 * ttl
	// complainEvery keeps an etcd that is away from filling the log.
	complainEvery = 24 * time.Hour
)

// waitAfter is how long to wait after so many failures in a row. Up to half of it goes
// by chance, from 0 to 1: a fleet must not come back all at once.
func waitAfter(failures int, chance float64) time.Duration {
	wait := renewEvery
	if failures > 0 {
		wait = min(firstRetry<<min(failures-1, 10), ttl)
	}
	return wait - time.Duration(chance*float64(wait)/2)
}

// chance is from 0 to 1. Nobody gains by foreseeing it.
func chance() float64 { return rand.Float64() } //nolint:gosec // G404: it spreads load, no more
