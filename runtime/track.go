package gracefleet

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// The kinds of HTTP connections. A new one without a request counts as idle.
const (
	kindActive = "active"
	kindIdle   = "idle"
	// kindHidden keeps a drain going without being work: a listener whose queue
	// was not yet seen empty, a server still draining.
	kindHidden = ""
)

// tracker counts the work in flight, by kind.
type tracker struct {
	mu     sync.Mutex
	counts map[string]int
	total  int
	empty  chan struct{} // made by drained, closed when the last work ends
	// changed holds one token while a count has changed unseen.
	changed chan struct{}
}

func newTracker() *tracker {
	return &tracker{counts: make(map[string]int), changed: make(chan struct{}, 1)}
}

// add changes a count. A unit that changes its kind is added before it is
// removed, so that the total does not touch zero in between.
func (t *tracker) add(kind string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[kind] += n
	t.total += n
	t.closeIfEmpty()
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// track counts one unit; the function returned ends it, once.
func (t *tracker) track(kind string) func() {
	t.add(kind, 1)
	return sync.OnceFunc(func() { t.add(kind, -1) })
}

func (t *tracker) hold() func() { return t.track(kindHidden) }

// drained is closed once the count was zero, now or later.
func (t *tracker) drained() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.empty == nil {
		t.empty = make(chan struct{})
		t.closeIfEmpty()
	}
	return t.empty
}

func (t *tracker) closeIfEmpty() {
	if t.empty == nil || t.total > 0 {
		return
	}
	select {
	case <-t.empty:
	default:
		close(t.empty)
	}
}

// String is "3 active, 12 idle, 1 ws", or "nothing".
func (t *tracker) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	kinds := []string{kindActive, kindIdle}
	for k := range t.counts {
		if k != kindActive && k != kindIdle && k != kindHidden {
			kinds = append(kinds, k)
		}
	}
	slices.Sort(kinds[2:])
	var parts []string
	for _, k := range kinds {
		if n := t.counts[k]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, k))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// Track counts one unit of work that a drain must wait for: a hijacked
// connection, a session of an accept loop, a job. kind, such as "ws", names it
// in what the parent is told. Call the function returned when it has ended;
// calling it again does nothing.
func (s *Service) Track(kind string) (done func()) {
	if kind == kindHidden {
		kind = "other"
	}
	return s.work.track(kind)
}
