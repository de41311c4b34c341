package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gracefleet/gracefleet/internal/chain"
)

// files are the files of a record, opened to be read.
type files struct {
	parts  []part // the oldest first; none is empty
	anchor anchorState
	stale  []part // older than the anchor, to be removed
}

// part is a file of a record.
type part struct {
	first int64 // number of its first line, from its name
	file  file
	size  int64
	err   error // why it cannot be read
}

// anchorState is what the oldest file is chained to, or why that is not known.
type anchorState struct {
	head Head
	err  error
}

func (f *files) close() {
	for _, p := range slices.Concat(f.parts, f.stale) {
		p.close()
	}
}

func (p part) close() {
	if p.file != nil {
		p.file.Close()
	}
}

func openPart(dir directory, first int64) part {
	p := part{first: first}
	if p.file, p.err = dir.open(segmentName(first), false); p.err != nil {
		p.file = nil
		return p
	}
	p.size, p.err = p.file.size()
	return p
}

// find opens what a directory has of a record. A file that cannot be opened is
// damage, not an error.
func find(dir directory) (*files, error) {
	names, err := dir.names()
	if err != nil {
		return nil, err
	}
	f := &files{}
	for _, name := range names {
		first, ok := segmentOf(name)
		if !ok {
			continue
		}
		p := openPart(dir, first)
		if p.err == nil && p.size == 0 { // begun and given up
			p.close()
			continue
		}
		f.parts = append(f.parts, p)
	}
	slices.SortFunc(f.parts, func(a, b part) int { return cmp.Compare(a.first, b.first) })
	f.anchor.head, f.anchor.err = readAnchor(dir)
	f.splitStale()
	return f, nil
}

// splitStale sets apart what is older than the anchor, if the first file after it
// bears the anchor out: on its word alone nothing is removed.
func (f *files) splitStale() {
	anchor := f.anchor.head
	kept := slices.IndexFunc(f.parts, func(p part) bool { return p.first > anchor.Seq })
	if kept == 0 || len(f.parts) == 0 {
		return
	}
	if kept < 0 || f.parts[kept].first != anchor.Seq+1 || f.parts[kept].chainedTo() != anchor.Chained() {
		f.anchor = anchorState{err: errors.New("there are older files than the anchor says, and none that is chained to it")}
		return
	}
	f.stale, f.parts = f.parts[:kept:kept], f.parts[kept:]
}

// chainedTo is what the first line is chained to, empty if that cannot be told.
func (p part) chainedTo() (prev string) {
	if p.err != nil {
		return ""
	}
	enough := errors.New("one is enough")
	_ = eachLine(p.file, 0, p.size, func(line rawLine) error {
		e, _ := chain.Decode(line.data)
		prev = e.Prev
		return enough
	})
	return prev
}

// Snapshot is the record at one instant, in files that stay readable when they are
// removed meanwhile. It must be closed. It is for one goroutine.
type Snapshot struct {
	files *files
	// Anchor is before the first line: what a chain.Verifier begins with.
	Anchor Head
	// Head is the last line.
	Head Head
}

// Snapshot opens the record as it is now, with all lines that are durable.
func (l *Log) Snapshot() (*Snapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("audit: %w", ErrClosed)
	}
	f := &files{anchor: anchorState{head: l.anchor}}
	for _, s := range l.segments {
		p := openPart(l.dir, s.first)
		p.size = s.end
		f.parts = append(f.parts, p)
	}
	return &Snapshot{files: f, Anchor: l.anchor, Head: l.last}, nil
}

// Close gives the files back.
func (s *Snapshot) Close() { s.files.close() }

// Read calls fn with the lines above the number after, in order, up to the last
// one that is durable now. The line is without its newline and valid until fn
// returns. Of a damaged line, fn gets what there is, and an Entry that is zero if
// it has not the form of one; what cannot be read at all is passed over and told in
// the end. An error of fn ends it and is returned as it is.
func (l *Log) Read(ctx context.Context, after int64, fn func(line []byte, e Entry) error) error {
	s, err := l.Snapshot()
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Read(ctx, after, fn)
}

// Read is Log.Read for the lines of the snapshot.
func (s *Snapshot) Read(ctx context.Context, after int64, fn func(line []byte, e Entry) error) error {
	var unreadable []error
	parts := s.files.parts
	for i, p := range parts {
		if i+1 < len(parts) && parts[i+1].first <= after+1 {
			continue
		}
		reader := reader{ctx: ctx, after: after, at: p.first - 1, fn: fn}
		err := p.err
		if err == nil {
			from := int64(0)
			if i == len(parts)-1 { // whoever follows reads it again and again
				from = seek(p.file, p.size, after)
			}
			err = eachLine(p.file, from, p.size, reader.line)
		}
		if reader.err != nil {
			return reader.err
		}
		if err != nil {
			unreadable = append(unreadable, fmt.Errorf("audit: lines from %d on: %w", p.first, err))
		}
	}
	return errors.Join(unreadable...)
}

// reader passes the lines of a file on.
type reader struct {
	ctx   context.Context
	after int64
	at    int64 // number of the line before
	fn    func(line []byte, e Entry) error
	err   error // not the file's
}

func (r *reader) line(line rawLine) error {
	if r.err = r.ctx.Err(); r.err != nil {
		return r.err
	}
	e, err := chain.Decode(line.data)
	if err != nil {
		e.Seq = 0
		r.at++
	} else {
		r.at = e.Seq
	}
	if r.at > r.after {
		r.err = r.fn(line.data, e)
	}
	return r.err
}
