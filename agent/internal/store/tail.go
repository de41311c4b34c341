package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// MaxLine is the length in bytes beyond which a line is cut.
const MaxLine = 64 << 10

// lineCut ends a line that was cut.
const lineCut = " [line cut]"

// Line is one line of a log, without its end.
type Line struct {
	Generation int
	// Time is when it was written at the latest: exact to a second or so for a
	// log that grew all the time, the time of its next writes otherwise.
	Time time.Time
	// Text is as the program wrote it, valid UTF-8 or not, cut at MaxLine. It is
	// valid during the call only.
	Text []byte
	// Lost is how many bytes before this line were rotated away before they
	// could be read.
	Lost int64
}

// TailOptions say what to read.
type TailOptions struct {
	Service string
	// Generation to read; 0 reads all, the oldest first.
	Generation int
	// Lines to begin with, counted from the end; 0 means all, -1 none.
	Lines int
	// Since leaves out lines known to be older; the zero time leaves out none.
	Since time.Time
	// Follow goes on with lines as they are written, of new generations too.
	Follow bool
}

// Tail calls emit for each line, until emit fails or, following, ctx ends; that
// error is returned (ctx's cause). It fails with ErrNotFound when there is no
// log, or following, none any more. Tails are independent and safe beside rotation; a
// slow emit holds nobody up.
func (s *Store) Tail(ctx context.Context, o TailOptions, emit func(Line) error) error {
	if err := service.CheckName(o.Service); err != nil {
		return fmt.Errorf("logs: %w", err)
	}
	t := &tail{logs: s.logs, options: o, readers: map[*logFile]*reader{}}
	defer t.close()
	if o.Follow {
		// Before the first read, so that no write falls between the two.
		if err := t.follow(filepath.Join(s.logs.dir, o.Service)); err != nil {
			return err
		}
	}
	if err := t.begin(); err != nil {
		return err
	}
	for {
		if err := t.drain(ctx, emit); err != nil || !o.Follow {
			return err
		}
		if err := t.wait(ctx); err != nil {
			return err
		}
		t.rescan()
	}
}

// LastLines returns up to n lines from the end of a generation's log, for a
// report on its failure. No log means no lines.
func (s *Store) LastLines(service string, generation, n int) ([]string, error) {
	var lines []string
	o := TailOptions{Service: service, Generation: generation, Lines: max(n, 1)}
	err := s.Tail(context.Background(), o, func(l Line) error {
		lines = append(lines, string(l.Text))
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return lines, err
}

// tail is one reading of a service's logs.
type tail struct {
	logs    *logs
	options TailOptions
	readers map[*logFile]*reader
	order   []*reader
	events  *os.File // inotify, when following
}

func (t *tail) follow(dir string) error {
	f, fd, err := newInotify()
	if err != nil {
		return fmt.Errorf("logs: %w", err)
	}
	t.events = f
	const mask = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_DELETE | unix.IN_DELETE_SELF
	_, err = unix.InotifyAddWatch(fd, dir, mask)
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("logs of %s: %w", t.options.Service, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("logs: inotify watch of %s: %w", dir, err)
	}
	return nil
}

func (t *tail) close() {
	for _, r := range t.order {
		r.file.Close()
	}
	if t.events != nil {
		t.events.Close()
	}
}

func (t *tail) files() []*logFile {
	var list []*logFile
	for _, f := range t.logs.of(t.options.Service) {
		if t.options.Generation == 0 || t.options.Generation == f.key.generation {
			list = append(list, f)
		}
	}
	return list
}

// begin opens the logs and sets where each is read from. The newest generation
// has the last lines, so it is asked first.
func (t *tail) begin() error {
	for _, f := range t.files() {
		t.open(f)
	}
	if len(t.order) == 0 && !t.options.Follow {
		return fmt.Errorf("logs of %s: %w", t.options.Service, ErrNotFound)
	}
	left := t.options.Lines
	for i := len(t.order) - 1; i >= 0; i-- {
		r := t.order[i]
		r.since(t.options.Since)
		switch {
		case t.options.Lines < 0 || left == 0 && t.options.Lines > 0:
			r.skipAll()
		case t.options.Lines > 0:
			n, err := r.last(left)
			if err != nil {
				return err
			}
			left -= n
		}
	}
	return nil
}

func (t *tail) open(f *logFile) {
	r, err := newReader(f)
	if err != nil {
		return // removed in this moment
	}
	t.readers[f] = r
	t.order = append(t.order, r)
}

// rescan takes up new generations and lets go of removed ones.
func (t *tail) rescan() {
	alive := map[*logFile]bool{}
	for _, f := range t.files() {
		alive[f] = true
		if t.readers[f] == nil {
			t.open(f)
		}
	}
	kept := t.order[:0]
	for _, r := range t.order {
		if alive[r.log] {
			kept = append(kept, r)
			continue
		}
		r.file.Close()
		delete(t.readers, r.log)
	}
	t.order = kept
}

func (t *tail) drain(ctx context.Context, emit func(Line) error) error {
	for _, r := range t.order {
		if err := r.drain(ctx, emit, !t.options.Follow); err != nil {
			return err
		}
	}
	return nil
}

// wait returns when something was written, or with ctx's cause.
func (t *tail) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = t.events.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var buf [4096]byte
	n, err := t.events.Read(buf[:])
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, e := range parseEvents(buf[:max(n, 0)]) {
		if e.Mask&unix.IN_IGNORED != 0 {
			return fmt.Errorf("logs of %s: %w: they were removed", t.options.Service, ErrNotFound)
		}
	}
	return err
}
