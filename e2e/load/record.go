package load

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// maxErrors is how many losses are kept in words.
const maxErrors = 20

// record remembers what became of the requests.
type record struct {
	onAnswer func(Answer)
	start    time.Time

	mu          sync.Mutex
	stopped     time.Time
	fresh, keep side
	generations map[string]GenerationSeen
	lag         histogram
	newest      time.Time // when the latest of those that are answered was due
	overtaken   time.Duration
	errors      []string
}

// side is one kind of load.
type side struct {
	on                              bool
	sent, answered                  int64
	connects, announced, idleClosed int64
	lost                            map[Loss]int64
	latency                         histogram
	lastGood                        time.Time
	gap                             time.Duration
	gapEnd                          time.Time
}

func newRecord(cfg Config) *record {
	now := time.Now()
	return &record{
		onAnswer:    cfg.OnAnswer,
		start:       now,
		fresh:       side{on: cfg.Fresh > 0, lost: make(map[Loss]int64), lastGood: now},
		keep:        side{on: cfg.KeepAlive > 0, lost: make(map[Loss]int64), lastGood: now},
		generations: make(map[string]GenerationSeen),
	}
}

func (r *record) side(fresh bool) *side {
	if fresh {
		return &r.fresh
	}
	return &r.keep
}

func (r *record) dispatched(late time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lag.add(late)
}

func (r *record) sent(fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.side(fresh).sent++
}

func (r *record) connected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep.connects++
}

func (r *record) announced() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep.announced++
}

func (r *record) idleClosed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep.idleClosed++
}

func (r *record) lost(fresh bool, kind Loss, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.side(fresh).lost[kind]++
	if len(r.errors) < maxErrors {
		name := "keep-alive"
		if fresh {
			name = "fresh"
		}
		r.errors = append(r.errors, fmt.Sprintf("%s %s %s: %v", time.Now().Format("15:04:05.000"), name, kind, err))
	}
}

func (r *record) answered(a Answer, connected time.Time) {
	r.count(a, connected)
	if r.onAnswer != nil {
		r.onAnswer(a)
	}
}

func (r *record) count(a Answer, connected time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.side(a.Fresh)
	s.answered++
	s.latency.add(a.At.Sub(a.Due))
	r.overtaken = max(r.overtaken, r.newest.Sub(a.Due))
	r.newest = latest(r.newest, a.Due)
	if gap := a.At.Sub(s.lastGood); gap > s.gap {
		s.gap, s.gapEnd = gap, a.At
	}
	if a.At.After(s.lastGood) {
		s.lastGood = a.At
	}
	g, seen := r.generations[a.Generation]
	if !seen || a.At.Before(g.FirstAnswer) {
		g.FirstAnswer = a.At
	}
	g.Answers++
	if a.Fresh {
		g.Fresh++
		g.LastFreshAnswer = latest(g.LastFreshAnswer, a.At)
		g.LastFreshConnect = latest(g.LastFreshConnect, connected)
	}
	r.generations[a.Generation] = g
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// stop marks the end of sending: silence after it is no gap.
func (r *record) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped.IsZero() {
		r.stopped = time.Now()
	}
}

func (r *record) snapshot() Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if !r.stopped.IsZero() {
		now = r.stopped
	}
	return Snapshot{
		Elapsed:     now.Sub(r.start),
		Fresh:       r.fresh.snapshot(now),
		KeepAlive:   r.keep.snapshot(now),
		Generations: maps.Clone(r.generations),
		DispatchLag: r.lag.summary(),
		Overtaken:   r.overtaken,
		Errors:      slices.Clone(r.errors),
	}
}

func (s *side) snapshot(now time.Time) Side {
	out := Side{
		Sent: s.sent, Answered: s.answered, Lost: maps.Clone(s.lost),
		Connects: s.connects, Announced: s.announced, IdleClosed: s.idleClosed,
		Latency: s.latency.summary(), LongestGap: s.gap, LongestGapEnd: s.gapEnd,
	}
	// A silence that still lasts counts, too.
	if gap := now.Sub(s.lastGood); s.on && gap > s.gap {
		out.LongestGap, out.LongestGapEnd = gap, now
	}
	return out
}
