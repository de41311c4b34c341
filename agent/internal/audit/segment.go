package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/gracefleet/gracefleet/internal/chain"
)

const anchorName = "anchor.json"

// segment is a file of the record that has lines, or will.
type segment struct {
	first int64 // number of its first line
	start Head  // what that is chained to
	end   int64 // of its lines in the file
}

func (s segment) name() string { return segmentName(s.first) }

func segmentName(first int64) string { return fmt.Sprintf("audit-%020d.jsonl", first) }

// segmentOf returns the number of the first line of a file of the record.
func segmentOf(name string) (first int64, ok bool) {
	digits, begins := strings.CutPrefix(name, "audit-")
	digits, ends := strings.CutSuffix(digits, ".jsonl")
	first, err := strconv.ParseInt(digits, 10, 64)
	return first, begins && ends && err == nil && plausible(first) && segmentName(first) == name
}

// plausible keeps a made-up name from using up the numbers.
func plausible(seq int64) bool { return seq > 0 && seq <= chain.MaxSeq/2 }

// anchorFile is the content of the anchor: the last line that was removed.
type anchorFile struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// readAnchor returns the zero Head when nothing was removed yet.
func readAnchor(dir directory) (Head, error) {
	f, err := dir.open(anchorName, false)
	if errors.Is(err, fs.ErrNotExist) {
		return Head{}, nil
	}
	if err != nil {
		return Head{}, err
	}
	defer f.Close()
	var data [256]byte
	n, _ := f.ReadAt(data[:], 0)
	var a anchorFile
	if err := json.Unmarshal(data[:n], &a); err != nil {
		return Head{}, fmt.Errorf("%s: %w", anchorName, err)
	}
	if encoded := encodeAnchor(Head(a)); string(encoded) != string(data[:n]) || !plausible(a.Seq) || !chain.IsHash(a.Hash) {
		return Head{}, fmt.Errorf("%s: not as it was written", anchorName)
	}
	return Head(a), nil
}

func encodeAnchor(h Head) []byte {
	data, _ := json.Marshal(anchorFile(h)) // cannot fail
	return append(data, '\n')
}

// begin makes the next line the first one of a new file. If that fails, the
// current file, if there is one, is gone on with.
func (l *Log) begin() error {
	next := segment{first: l.next, start: Head{Seq: l.next - 1, Hash: l.last.Chained()}}
	f, err := l.dir.create(next.name())
	if err != nil {
		return err
	}
	if err := l.dir.sync(); err != nil {
		f.Close()
		_ = l.dir.remove(next.name())
		return err
	}
	if l.current != nil {
		l.current.Close()
	}
	l.current, l.began, l.reserved = f, true, 0
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = append(l.segments, next)
	return nil
}

// end is where the next line goes. It is for who writes.
func (l *Log) end() int64 { return l.segments[len(l.segments)-1].end }

// rotate begins a new file when the current one has its size. What fails here is
// tried again: a file may grow, but no request is refused for that.
func (l *Log) rotate() {
	if l.end() < l.options.MaxBytes {
		return
	}
	err := l.begin()
	if err != nil && !l.stuck {
		l.tell("no new file, the old one grows beyond its limit of %d bytes: %v", l.options.MaxBytes, err)
	}
	l.stuck = err != nil
}

// prune removes the oldest files when there are too many. The first line of a new
// file is durable by now, so that there is always one which follows the anchor.
func (l *Log) prune() {
	if !l.began {
		return
	}
	l.began = false
	excess := len(l.segments) - l.options.Keep
	if excess <= 0 {
		return
	}
	anchor := l.segments[excess].start
	if err := l.dir.replace(anchorName, encodeAnchor(anchor)); err != nil {
		l.tell("the oldest files cannot be removed before the next new one: %v", err)
		return
	}
	l.mu.Lock()
	old := l.segments[:excess]
	l.segments = slices.Clone(l.segments[excess:])
	l.anchor = anchor
	l.mu.Unlock()
	for _, s := range old {
		if err := l.dir.remove(s.name()); err != nil { // the next Open tries again
			l.tell("an old file was not removed: %v", err)
		}
	}
}
