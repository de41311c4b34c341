package audit

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/gracefleet/gracefleet/internal/chain"
)

// pending is an entry that somebody waits for.
type pending struct {
	entry Entry
	wake  chan struct{} // once: it is done, or it is to write for all
	head  Head
	err   error
	done  bool
}

// Append writes a line and returns when it is durable. The Log assigns Seq, Time
// and Prev. It fails with ErrFull on a full disk and with ErrClosed after Close;
// then, and on any other error, the record is without the line.
//
// Those who append at once share a write and a sync: one of them writes for all who
// wait, and when it is done names the next of those who came meanwhile.
func (l *Log) Append(e Entry) (Head, error) {
	if e.Decision != chain.Allowed && e.Decision != chain.Denied {
		return Head{}, fmt.Errorf("audit: %s: decision %q: it is %q or %q", e.Method, e.Decision, chain.Allowed, chain.Denied)
	}
	p := &pending{entry: e, wake: make(chan struct{}, 1)}
	if others := l.enqueue(p); others {
		<-p.wake
	}
	if !p.done {
		l.lead(p)
	}
	return p.head, p.err
}

// enqueue says whether somebody writes already.
func (l *Log) enqueue(p *pending) (others bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, p)
	others = l.led
	l.led = true
	return others
}

// lead writes until p is done.
func (l *Log) lead(p *pending) {
	runtime.Gosched() // those who were woken together come back together
	l.writer.Lock()
	for !p.done {
		_ = l.commit() // p has the error, too
	}
	l.writer.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.led = len(l.queue) > 0; l.led {
		l.queue[0].wake <- struct{}{}
	}
}

// commit writes for those who wait, or tells them why not. Some may be left for
// the next file.
func (l *Log) commit() error {
	batch := l.takeQueue()
	err := l.prepare()
	if err == nil {
		batch, err = l.write(batch)
	}
	if err != nil {
		err = fmt.Errorf("audit: not recorded: %w", full(err))
	}
	for _, p := range batch {
		p.done, p.err = true, err
		p.wake <- struct{}{}
	}
	return err
}

// takeQueue takes all who wait. What goes on after a damage comes first.
func (l *Log) takeQueue() []*pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := l.queue
	l.queue = nil
	if l.goOn != nil {
		batch = slices.Insert(batch, 0, &pending{entry: *l.goOn, wake: make(chan struct{}, 1)})
	}
	return batch
}

// prepare gets a file to write to, good up to its end.
func (l *Log) prepare() error {
	if l.closed {
		return ErrClosed
	}
	if err := l.settle(); err != nil {
		return err
	}
	if l.current == nil {
		return l.begin()
	}
	l.rotate()
	return nil
}

// reserve keeps space for lines to come: on a full disk, too, somebody has to be
// able to do what makes room. A file system that cannot do so has none.
func (l *Log) reserve() {
	if l.end()+reserveAhead/2 < l.reserved {
		return
	}
	if err := l.current.reserve(l.end() + reserveAhead); err == nil {
		l.reserved = l.end() + reserveAhead
	}
}

// settle brings the file back to its last good end, durably.
func (l *Log) settle() error {
	if !l.unsettled {
		return nil
	}
	size, err := l.current.size()
	if err != nil {
		return err
	}
	if size != l.end() { // else what is reserved stays so
		if err := l.current.truncate(l.end()); err != nil {
			return err
		}
	}
	if err := l.current.sync(); err != nil {
		return err
	}
	if err := l.dir.sync(); err != nil {
		return err
	}
	l.unsettled, l.reserved = false, 0
	return nil
}

// write makes a batch durable. On success it returns those who were written, and
// puts those who belong into the next file back.
func (l *Log) write(batch []*pending) ([]*pending, error) {
	l.reserve()
	data, heads := l.encode(batch)
	_, err := l.current.WriteAt(data, l.end())
	if err == nil {
		err = l.current.sync()
	}
	if err != nil {
		l.unsettled = true
		if again := l.settle(); again != nil {
			err = fmt.Errorf("%w; nor could it be undone, which is tried again before the next line: %w", err, again)
		}
		return batch, err
	}
	written := batch[:len(heads)]
	for i, p := range written {
		p.head = heads[i]
	}
	l.publish(heads, int64(len(data)), batch[len(heads):])
	l.prune()
	return written, nil
}

// encode makes the lines of as many as the file has room for, and of one at least.
func (l *Log) encode(batch []*pending) (data []byte, heads []Head) {
	head := Head{Seq: l.next - 1, Hash: l.last.Chained()}
	for _, p := range batch {
		if len(heads) > 0 && l.end()+int64(len(data)) >= l.options.MaxBytes {
			break
		}
		e := p.entry
		e.Seq, e.Prev, e.Time = head.Seq+1, head.Chained(), l.now()
		line := chain.Encode(e)
		head = Head{Seq: e.Seq, Hash: chain.Hash(line)}
		heads = append(heads, head)
		data = append(append(data, line...), '\n')
	}
	return data, heads
}

// now is the time of the next line. The clock may be set back, the record is not:
// what is compared is the time that is written, not the monotonic one beside it.
func (l *Log) now() time.Time {
	if now := l.options.Clock().UTC().Round(0); now.After(l.time) {
		l.time = now
	}
	return l.time
}

// publish lets readers see what is durable.
func (l *Log) publish(heads []Head, size int64, rest []*pending) {
	l.goOn = nil
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = heads[len(heads)-1]
	l.next = l.last.Seq + 1
	l.segments[len(l.segments)-1].end += size
	l.queue = append(rest, l.queue...)
	close(l.news)
	l.news = make(chan struct{})
}
