package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxMarks bounds an index; beyond, every second mark is dropped.
const maxMarks = 4096

// mark says that a log had offset bytes at a time: what lies before it was
// written by then, what lies behind it later.
type mark struct {
	at     time.Time
	offset int64
}

// index is the journal beside a log, one line per fact:
//
//	mark MILLISECONDS OFFSET
//	cut BASE SUM        bytes before BASE are about to go; SUM is of the head
//	base BASE           they are gone: byte 0 of the file has this offset
//
// A cut without its base (the agent was killed in between) is settled by
// looking whether the head of the log is still the same. The journal is not
// fsynced: losing it costs times, not lines.
type index struct {
	path string
	base int64
	// hole is how many bytes at the head of the file were punched out.
	hole  int64
	marks int
	last  mark
}

// open reads the journal of the log at path and settles a cut left open.
func (x *index) open(path string) {
	x.path = strings.TrimSuffix(path, logExt) + indexExt
	cut, sum := int64(-1), ""
	data, _ := os.ReadFile(x.path)
	for line := range bytes.Lines(data) {
		kind, n, arg, ok := parseFact(line)
		switch {
		case !ok:
		case kind == "mark":
			x.last, x.marks = toMark(n, arg), x.marks+1
		case kind == "base":
			x.base, cut = n, -1
		case kind == "cut":
			cut, sum = n, arg
		}
	}
	f, err := openLogFile(path, os.O_RDONLY)
	if err != nil {
		return
	}
	defer f.Close()
	if cut >= 0 && headSum(f) != sum {
		x.setBase(cut)
	}
	x.hole = headHole(f)
	if info, err := f.Stat(); err == nil && x.base+info.Size() != x.last.offset {
		// Written while nobody watched; the file itself says until when.
		x.mark(mark{info.ModTime(), x.base + info.Size()})
	}
}

// parseFact splits a line of the journal; one torn by a crash is none.
func parseFact(line []byte) (kind string, n int64, arg string, ok bool) {
	text, whole := strings.CutSuffix(string(line), "\n")
	kind, rest, _ := strings.Cut(text, " ")
	number, arg, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(number, 10, 64)
	return kind, n, arg, whole && err == nil
}

func toMark(ms int64, offset string) mark {
	n, _ := strconv.ParseInt(offset, 10, 64)
	return mark{time.UnixMilli(ms), n}
}

func (x *index) mark(m mark) {
	x.last = m
	if x.marks++; x.marks > maxMarks {
		x.thin()
	}
	x.append(fmt.Sprintf("mark %d %d\n", m.at.UnixMilli(), m.offset))
}

// willCut records that the file is about to lose its first n bytes.
func (x *index) willCut(f *os.File, n int64) {
	x.append(fmt.Sprintf("cut %d %s\n", x.base+n, headSum(f)))
}

func (x *index) setBase(base int64) {
	x.base = base
	x.append(fmt.Sprintf("base %d\n", base))
}

// append is best effort: on a full disk lines matter more than their times.
func (x *index) append(line string) {
	f, err := os.OpenFile(x.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	_, _ = f.WriteString(line)
}

// all reads the marks back, the oldest first.
func (x *index) all() []mark {
	data, _ := os.ReadFile(x.path)
	var marks []mark
	for line := range bytes.Lines(data) {
		if kind, n, arg, ok := parseFact(line); ok && kind == "mark" {
			marks = append(marks, toMark(n, arg))
		}
	}
	return marks
}

// thin rewrites the journal without marks of bytes that are gone, and without
// every second of the rest.
func (x *index) thin() {
	out := fmt.Appendf(nil, "base %d\n", x.base)
	x.marks = 0
	for i, m := range x.all() {
		if m.offset < x.base+x.hole || i%2 == 1 {
			continue
		}
		out = fmt.Appendf(out, "mark %d %d\n", m.at.UnixMilli(), m.offset)
		x.marks++
	}
	tmp := x.path + ".tmp"
	if err := os.WriteFile(tmp, out, 0o600); err != nil {
		_ = os.Remove(tmp)
		return
	}
	_ = os.Rename(tmp, x.path)
}

func (x *index) remove() { _ = os.Remove(x.path) }

// headSum identifies the first bytes of a log.
func headSum(f *os.File) string {
	buf := make([]byte, 4096)
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "-"
	}
	return fmt.Sprintf("%x", sha256.Sum256(buf[:n]))
}

// headHole is the length of the hole at the head of a file.
func headHole(f *os.File) int64 {
	off, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) { // nothing but a hole
		off, err = f.Seek(0, io.SeekEnd)
	}
	if err != nil {
		return 0
	}
	return off
}

// openLogFile opens a log, and nothing that was put in its place: no link to another
// file, no fifo, which would wait for its other end.
func openLogFile(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o640)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is %s: look who put it there, and remove it", path, kindOfFile(info.Mode()))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
