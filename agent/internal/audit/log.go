package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/gracefleet/gracefleet/internal/chain"
)

// What a record is made of; see package chain.
type (
	// Entry is what one line says.
	Entry = chain.Entry
	// Head names a line by its number and hash.
	Head = chain.Head
	// Damage is where a record is not in order.
	Damage = chain.Damage
)

// Defaults of Options.
const (
	DefaultMaxBytes = 16 << 20
	DefaultKeep     = 16
)

// reserveAhead is how many bytes are kept for lines to come, and half of it at
// least: some 1,500 lines.
const reserveAhead = 1 << 20

// Options of a Log; the zero value means the defaults.
type Options struct {
	// MaxBytes is the size in bytes at which a new file is begun.
	MaxBytes int64
	// Keep is how many files there are at most.
	Keep int
	// OnRepair, when set, is told in a sentence what was repaired, and what
	// could not be. It is called during Open, and by whoever appends, and must
	// not use the Log.
	OnRepair func(text string)
	// Clock is time.Now unless set.
	Clock func() time.Time
}

// What callers branch on with errors.Is.
var (
	// ErrFull means that a line was not written for want of space or quota.
	ErrFull = errors.New("disk full")
	// ErrClosed means that the Log was closed.
	ErrClosed = errors.New("audit record is closed")
)

// Log is an open record. Its methods are safe for concurrent use.
type Log struct {
	dir     directory
	options Options
	damages []*Damage // that Open found

	// writer is held by who writes; it guards what follows, and is taken
	// before mu.
	writer    sync.Mutex
	current   file // the last segment; nil: begin a new one
	next      int64
	time      time.Time // of the last line
	goOn      *Entry    // to be written before anything else
	unsettled bool      // what is on the disk after the last good end may be anything
	began     bool      // old files may have to be removed
	stuck     bool      // no new file could be made
	reserved  int64     // up to where the current file has space of its own

	// mu guards what readers see. What only writers change, they read without it.
	mu       sync.Mutex
	queue    []*pending
	led      bool // somebody writes for the queue
	segments []segment
	anchor   Head          // before the first segment
	last     Head          // the last line that is durable
	news     chan struct{} // closed at the next line
	closed   bool
}

// Open opens the record in a directory, STATE_DIR/audit, or begins one. A torn last
// line is cut off. Whatever else is wrong does not keep it from opening: the record
// goes on in a new file, and Damages tells. It fails when the directory cannot be
// used at all: it is somebody else's, no directory, or another Log has it.
//
// All lines are verified, which takes most of a second per 100 MB.
func Open(dir string, o Options) (*Log, error) {
	d, err := openDisk(dir)
	if err != nil {
		return nil, err
	}
	l, err := open(d, o)
	if err != nil {
		_ = d.close()
		return nil, fmt.Errorf("audit: %w", err)
	}
	return l, nil
}

func open(dir directory, o Options) (*Log, error) {
	l := &Log{dir: dir, options: withDefaults(o), news: make(chan struct{})}
	found, err := find(dir)
	if err != nil {
		return nil, err
	}
	defer found.close()
	for _, p := range found.stale { // the agent was killed while it removed them
		if err := dir.remove(segmentName(p.first)); err != nil {
			l.tell("an old file was not removed: %v", err)
		}
	}
	s, err := found.survey(context.Background(), Head{})
	if err != nil {
		return nil, err
	}
	l.take(found.anchor.head, s)
	if s.torn != "" {
		l.tell("%s; it was cut off", s.torn)
	}
	if s.verifier.Damaged() {
		l.goOnAfter(s)
		return l, nil
	}
	l.resume()
	return l, nil
}

func withDefaults(o Options) Options {
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Keep <= 0 {
		o.Keep = DefaultKeep
	}
	if o.OnRepair == nil {
		o.OnRepair = func(string) {}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return o
}

func (l *Log) tell(format string, args ...any) {
	l.options.OnRepair("audit: " + fmt.Sprintf(format, args...))
}

// take goes on from what was found.
func (l *Log) take(anchor Head, s *survey) {
	l.damages = s.verifier.Damages()
	l.segments = s.segments
	l.anchor = anchor
	l.last = s.verifier.Head()
	l.next = l.last.Seq + 1
	l.time = s.verifier.Time()
	l.began = true // there may be too many files
}

// resume opens the last file to be written on. An agent that was killed may not
// have synced what it wrote, or not have cut off what was torn.
func (l *Log) resume() {
	if len(l.segments) == 0 {
		return
	}
	f, err := l.dir.open(l.segments[len(l.segments)-1].name(), true)
	if err != nil {
		l.tell("the last file cannot be written on, a new one is begun: %v", err)
		return
	}
	l.current, l.unsettled = f, true
	if err := l.settle(); err != nil {
		l.tell("%v; it is tried again before the next line", err)
	}
}

// goOnAfter leaves damaged files as they are and goes on in a new one. The numbers
// of lines that are there are not used again, and one is left out, so that the
// damage shows even when all that was damaged is gone.
func (l *Log) goOnAfter(s *survey) {
	found := l.damages[len(l.damages)-1]
	l.next = max(s.highest+1, l.last.Seq+2)
	l.goOn = &Entry{
		Actor: "graced", Role: "agent", From: "pid " + strconv.Itoa(os.Getpid()), Method: chain.MethodDamaged, Decision: chain.Allowed,
		Detail: map[string]string{
			"kind": string(found.Kind), "line": strconv.FormatInt(found.Seq, 10), "why": found.Why, "where": found.Where,
			"last good": strconv.FormatInt(l.last.Seq, 10),
		},
	}
	l.writer.Lock()
	defer l.writer.Unlock()
	if err := l.commit(); err != nil {
		l.tell("that the record is damaged could not be written into it: %v; it is tried again before the next line", err)
		return
	}
	found.Sealed = l.last.Seq
}

// Close ends the record. Who waits in Append gets ErrClosed, or what was written.
func (l *Log) Close() error {
	l.writer.Lock()
	defer l.writer.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var err error
	if l.current != nil {
		err = l.current.Close()
	}
	return errors.Join(err, l.dir.close())
}

// Head is the last line that is durable.
func (l *Log) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// News is closed when there is a line that was not there when it was called.
func (l *Log) News() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.news
}

// Damages are what Open found that is not in order, none if everything was. Those
// found by an earlier Open are among them as long as the files are kept.
func (l *Log) Damages() []*Damage { return slices.Clone(l.damages) }

func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
