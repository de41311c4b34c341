package socket

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a live count.
const (
	reportEvery = 100 * time.Millisecond
	// stallAfter without an event the sockets are listed anew: programs close
	// connections whose sockets live on, and stragglers arrive.
	stallAfter = time.Second
	// listEvery is the shortest time between lists where there is no stream.
	listEvery = 100 * time.Millisecond
	// costShare keeps lists at 1 % of one processor.
	costShare = 100
	// A stream that carries more than streamRate events in a second, or that is
	// older than streamFor, costs more than lists do.
	streamRate = 2000
	streamFor  = time.Minute
)

// Watch counts the connections of a draining slot and calls report with every
// change, about ten times a second at most, and at once when Open becomes 0. The
// first call is immediate, and the only one if the count cannot be known. It costs about 6 ms of processor time per 1,000
// connections closed. report runs on the caller's goroutine. Watch returns when
// ctx ends, or when the kernel refuses to answer.
func Watch(ctx context.Context, s Scope, report func(Count)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	w := &watcher{scope: s, report: report, start: time.Now()}
	if d := w.stream(); d != nil {
		streamCtx, end := context.WithCancel(ctx)
		w.d, w.endStream = d, end
		wg.Go(func() { d.run(streamCtx) })
	}
	return w.loop(ctx)
}

type watcher struct {
	scope  Scope
	report func(Count)
	start  time.Time

	d         *destroyed // nil: no stream, lists only
	endStream context.CancelFunc
	window    time.Time // of the rate
	events    int       // in the window

	conns    map[uint64]connection
	count    Count
	reported Count
	reportAt time.Time // no report before
	listAt   time.Time // next list
	listNot  time.Time // no list before: cost
}

// stream opens the stream of destroyed sockets, if the scope has any use for it.
func (w *watcher) stream() *destroyed {
	var ports []uint16
	for _, r := range w.scope.requests() {
		ports = append(ports, r.port)
	}
	if len(ports) == 0 || w.scope.lacks.destroyed {
		return nil
	}
	d, err := openDestroyed(ports)
	if err != nil {
		return nil // the kernel lacks it: lists do as well, at a higher price
	}
	return d
}

func (w *watcher) loop(ctx context.Context) error {
	if err := w.list(ctx); err != nil {
		return err
	}
	w.tell(w.start)
	if !w.count.Known {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(w.next()))
		var events <-chan uint64
		var lost <-chan struct{}
		var ended <-chan error
		if w.d != nil {
			events, lost, ended = w.d.events, w.d.lost, w.d.ended
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case cookie := <-events:
			w.gone(cookie)
		case <-lost:
			w.listAt = w.listNot
		case <-ended:
			w.listsOnly()
		case <-timer.C:
		}
		if err := w.act(ctx, time.Now()); err != nil {
			return err
		}
	}
}

// next is when there is something to do without an event.
func (w *watcher) next() time.Time {
	if w.count != w.reported && w.reportAt.Before(w.listAt) {
		return w.reportAt
	}
	return w.listAt
}

func (w *watcher) act(ctx context.Context, now time.Time) error {
	if w.d != nil && (w.tooFast(now) || now.Sub(w.start) > streamFor) {
		w.listsOnly()
	}
	if !now.Before(w.listAt) {
		if err := w.list(ctx); err != nil {
			return err
		}
	}
	if w.count != w.reported && (w.count.Open == 0 || !now.Before(w.reportAt)) {
		w.tell(now)
	}
	return nil
}

func (w *watcher) tell(now time.Time) {
	w.reported, w.reportAt = w.count, now.Add(reportEvery)
	w.report(w.count)
}

// gone takes a destroyed socket out.
func (w *watcher) gone(cookie uint64) {
	w.events++
	c, ok := w.conns[cookie]
	if !ok {
		return
	}
	delete(w.conns, cookie)
	w.count.add(c, -1)
	w.schedule(time.Now())
}

func (w *watcher) tooFast(now time.Time) bool {
	if now.Sub(w.window) > time.Second {
		w.window, w.events = now, 0
	}
	return w.events > streamRate
}

// listsOnly gives the stream up. Events that are still under way are lost, so
// the next list is due at once.
func (w *watcher) listsOnly() {
	w.endStream()
	w.d = nil
	w.listAt = w.listNot
}

// list takes the whole count anew.
func (w *watcher) list(ctx context.Context) error {
	from := processorTime()
	conns, known, err := w.scope.list(ctx)
	if err != nil {
		return err
	}
	w.conns, w.count = conns, Count{}
	if known {
		w.count = sum(conns)
	}
	now := time.Now()
	w.listNot = now.Add(costShare * (processorTime() - from))
	w.schedule(now)
	return nil
}

// schedule sets the next list: after a while without events, or soon if there is
// no stream, but never before the last one has paid off.
func (w *watcher) schedule(now time.Time) {
	wait := listEvery
	if w.d != nil {
		wait = stallAfter
	}
	w.listAt = now.Add(wait)
	if w.listAt.Before(w.listNot) {
		w.listAt = w.listNot
	}
}

// processorTime of this process: what a list costs, or more if others work
// meanwhile, which only makes lists rarer.
func processorTime() time.Duration {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
