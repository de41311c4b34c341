package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"time"
)

// reader reads one log forward, line by line.
type reader struct {
	log   *logFile
	file  *os.File
	marks []mark
	pos   int64 // the next byte to read, a logical offset
	lost  int64
	// line is what was read of a line whose end is still to come.
	line []byte
	// cut says that line is full and the rest up to the line's end is dropped.
	cut bool
	// skip says that pos is within a line whose beginning is gone.
	skip bool
	buf  []byte
	// changed is when the file was last written, as of the last drain.
	changed time.Time
}

func newReader(f *logFile) (*reader, error) {
	file, err := openLogFile(f.path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	r := &reader{log: f, file: file, buf: make([]byte, 64<<10)}
	f.mu.RLock()
	defer f.mu.RUnlock()
	r.marks = f.index.all()
	r.pos = f.index.base + f.index.hole
	r.skip = r.pos > 0
	return r, nil
}

// markSlack covers what a mark's time may be too early: its milliseconds are
// rounded down, and files are stamped by the kernel's tick, of 10 ms at most.
const markSlack = 11 * time.Millisecond

// since moves to the last mark before t: what lies before it was written by then.
func (r *reader) since(t time.Time) {
	t = t.Add(-markSlack)
	// Not a binary search: the clock may have been set back.
	i := slices.IndexFunc(r.marks, func(m mark) bool { return !m.at.Before(t) })
	if i < 0 {
		i = len(r.marks)
	}
	if i > 0 && r.marks[i-1].offset > r.pos {
		r.moveTo(r.marks[i-1].offset)
	}
}

// moveTo continues at an offset, which is within a line unless a line's end is
// right before it.
func (r *reader) moveTo(offset int64) {
	var b [1]byte
	n, at, _ := r.read(b[:], offset-1)
	r.pos = offset
	r.skip = n == 0 || at != offset-1 || b[0] != '\n'
}

// skipAll moves to the end.
func (r *reader) skipAll() {
	if end := r.end(); end > r.pos {
		r.moveTo(end)
	}
}

func (r *reader) end() int64 {
	r.log.mu.RLock()
	defer r.log.mu.RUnlock()
	info, err := r.file.Stat()
	if err != nil {
		return r.pos
	}
	return r.log.index.base + info.Size()
}

// last moves on so that at most n lines are left, and returns how many are. It
// searches from the end and reads no more than it must.
func (r *reader) last(n int) (int, error) {
	end := r.end()
	found := 0
	for high := end; high > r.pos; {
		low := max(r.pos, high-int64(len(r.buf)))
		got, at, err := r.read(r.buf[:high-low], low)
		if err != nil {
			return 0, err
		}
		if at != low || int64(got) < high-low {
			break // rotated away while it was read
		}
		for i := got - 1; i >= 0; i-- {
			if r.buf[i] != '\n' || low+int64(i) == end-1 {
				continue
			}
			if found++; found == n {
				r.pos, r.skip = low+int64(i)+1, false
				return n, nil
			}
		}
		high = low
	}
	if !r.skip && end > r.pos {
		found++ // the first line has no end before it
	}
	return found, nil
}

// read reads at an offset, or at the first byte there still is behind it.
func (r *reader) read(buf []byte, offset int64) (n int, at int64, err error) {
	r.log.mu.RLock()
	defer r.log.mu.RUnlock()
	at = max(offset, r.log.index.base+r.log.index.hole)
	n, err = r.file.ReadAt(buf, at-r.log.index.base)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("log %s: %w", r.log.path, err)
	}
	return n, at, err
}

// drain emits all lines there are; with rest also a last one without an end.
func (r *reader) drain(ctx context.Context, emit func(Line) error, rest bool) error {
	for ctx.Err() == nil {
		if info, err := r.file.Stat(); err == nil {
			r.changed = info.ModTime()
		}
		n, at, err := r.read(r.buf, r.pos)
		if err != nil {
			return err
		}
		if at > r.pos {
			r.lost += at - r.pos + int64(len(r.line))
			r.line, r.cut, r.skip = r.line[:0], false, true
		}
		if n == 0 {
			// Behind the end only when somebody else truncated the file.
			r.pos = min(at, r.end())
			break
		}
		r.pos = at + int64(n)
		if err := r.feed(r.buf[:n], at, emit); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if rest && len(r.line) > 0 {
		return r.emit(emit, r.pos)
	}
	return nil
}

// feed takes the bytes at an offset.
func (r *reader) feed(b []byte, at int64, emit func(Line) error) error {
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		whole := i >= 0
		if !whole {
			i = len(b)
		}
		r.add(b[:i])
		if !whole {
			return nil
		}
		b, at = b[i+1:], at+int64(i)+1
		if err := r.emit(emit, at); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) add(b []byte) {
	if r.skip || r.cut {
		return
	}
	if room := MaxLine - len(r.line); len(b) > room {
		r.line = append(append(r.line, b[:room]...), lineCut...)
		r.cut = true
		return
	}
	r.line = append(r.line, b...)
}

// emit hands the line that ends at an offset over, unless its beginning is gone.
func (r *reader) emit(emit func(Line) error, end int64) error {
	text := r.line
	skip := r.skip
	r.line, r.cut, r.skip = r.line[:0], false, false
	if skip {
		return nil
	}
	l := Line{Generation: r.log.key.generation, Time: r.timeOf(end), Text: text, Lost: r.lost}
	r.lost = 0
	return emit(l)
}

// timeOf is the first mark at or behind an offset, else the file's last change.
func (r *reader) timeOf(offset int64) time.Time {
	i := sort.Search(len(r.marks), func(i int) bool { return r.marks[i].offset >= offset })
	if i < len(r.marks) {
		return r.marks[i].at
	}
	return r.changed
}
