package supervisor

import (
	"context"
	"sync"
	"time"
)

// journalSize is how many events are held for readers that come late.
const journalSize = 4096

// journal holds the latest events in order. Writers never wait for readers: one
// that falls behind is told how much it lost.
type journal struct {
	mu     sync.Mutex
	events []Event
	next   int64
	closed bool
	news   *broadcast
}

func newJournal() *journal {
	// The sequence goes on rising when a new agent starts: a second of the clock
	// leaves room for a million events.
	return &journal{next: time.Now().Unix()<<20 + 1, news: newBroadcast()}
}

func (j *journal) add(e Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.Sequence, e.Time = j.next, time.Now().UTC()
	j.next++
	j.events = append(j.events, e)
	if n := len(j.events) - journalSize; n > 0 {
		j.events = j.events[n:]
	}
	j.news.wake()
}

func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	j.news.close()
}

// after returns what is held after a sequence number, how much is lost, and a
// channel that closes at the next event.
func (j *journal) after(sequence int64) (events []Event, lost int64, next <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	first := j.next - int64(len(j.events))
	if sequence > 0 && sequence+1 < first {
		lost = first - sequence - 1
	}
	from := max(0, sequence+1-first)
	if from < int64(len(j.events)) {
		events = append(events, j.events[from:]...)
	}
	return events, lost, j.news.wait()
}

func (j *journal) last() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next - 1
}

// WatchEvents calls fn with each event of a service ("" means all) after a
// sequence number, 0 for all that are held, -1 for none of them. With follow it
// goes on until ctx ends or fn fails; a gap is told as an event with Dropped.
func (s *Supervisor) WatchEvents(ctx context.Context, service string, after int64, follow bool, fn func(Event) error) error {
	if service != "" {
		if _, err := s.find(service); err != nil {
			return err
		}
	}
	if after < 0 {
		after = s.journal.last()
	}
	for {
		events, lost, next := s.journal.after(after)
		if lost > 0 {
			if err := fn(Event{Sequence: after, Time: time.Now().UTC(), Service: service, Dropped: lost}); err != nil {
				return err
			}
		}
		for _, e := range events {
			after = e.Sequence
			if service != "" && e.Service != service {
				continue
			}
			if err := fn(e); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.ctx.Done():
			return ErrClosed
		}
	}
}

// broadcast wakes everyone who waits, as often as it is told to.
type broadcast struct {
	mu     sync.Mutex
	ch     chan struct{}
	closed bool
}

func newBroadcast() *broadcast { return &broadcast{ch: make(chan struct{})} }

func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ch
}

func (b *broadcast) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	close(b.ch)
	b.ch = make(chan struct{})
}

// close wakes everyone for the last time.
func (b *broadcast) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		close(b.ch)
	}
}
