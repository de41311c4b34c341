//go:build linux

package e2e

import (
	"slices"
	"sync"
	"time"

	"github.com/gracefleet/gracefleet/e2e/load"
)

// meter looks at one upgrade at a time: who answers first, and how long nobody
// does.
type meter struct {
	mu       sync.Mutex
	first    map[string]time.Time
	lastGood time.Time
	gap      time.Duration
}

// hear is a load's OnAnswer. Only fresh connections tell of a switch.
func (m *meter) hear(a load.Answer) {
	if !a.Fresh {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.first == nil {
		m.first = map[string]time.Time{}
	}
	if _, seen := m.first[a.Generation]; !seen {
		m.first[a.Generation] = a.At
	}
	if gap := a.At.Sub(m.lastGood); !m.lastGood.IsZero() && gap > m.gap {
		m.gap = gap
	}
	m.lastGood = a.At
}

// reset forgets the gaps so far.
func (m *meter) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gap = 0
}

func (m *meter) longestGap() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gap
}

func (m *meter) firstAnswer(generation string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.first[generation]
}

func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2].Round(10 * time.Microsecond)
}
