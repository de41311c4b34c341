package runner

import (
	"sync"
	"time"
)

// host is what all tasks of one host share.
type host struct {
	mu      sync.Mutex
	epoch   int64     // of the lease; 0 before a claim
	leased  time.Time // when that was given or renewed last; zero before
	heard   time.Time // when it answered last
	failing time.Time // since when it does not; zero when it does
	failure error     // the last
}

func (h *host) setEpoch(epoch int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.epoch = epoch
}

// leases notes that the host has just given the lease, or renewed it.
func (h *host) leases() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leased = time.Now()
}

// mayLease says whether a lease that lasts so long may not be over yet.
func (h *host) mayLease(lasts time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.leased) < lasts
}

func (h *host) answered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard, h.failing = time.Now(), time.Time{}
}

// failed notes a failure of what began at an instant.
func (h *host) failed(since time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failure = err
	if !h.failing.IsZero() {
		return
	}
	if h.failing = since; since.Before(h.heard) {
		h.failing = time.Now() // it was there meanwhile
	}
}

// lost is why nothing was answered, when that has lasted for too long.
func (h *host) lost(after time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failing.IsZero() || time.Since(h.failing) < after {
		return nil
	}
	return h.failure
}
