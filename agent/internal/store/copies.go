package store

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A record has three copies, NAME.a to NAME.c, which are overwritten in turn: a
// write makes no new file and mostly takes no new block, so that next to nothing
// but its own bytes has to reach the disk. The latest whole copy counts. A write
// spares the copy that was written last, which the death of an agent must leave,
// and the one that was synced last, which a power cut must leave.
const copyCount = 3

var copyExt = [copyCount]string{".a", ".b", ".c"}

// copyBlock: sizes are multiples of it and never shrink, since a change of size
// is one more thing to write.
const copyBlock = 4 << 10

// copies is what is known of one record's files; the lock of its name guards it.
type copies struct {
	held   [copyCount]heldCopy
	synced uint64 // latest version that survives a power cut; 0: none
}

type heldCopy struct {
	version uint64 // rises with every write; 0: nothing of use
	named   bool   // its name survives a power cut
}

func (c *copies) oldestFirst() []int {
	all := []int{0, 1, 2}
	slices.SortStableFunc(all, func(a, b int) int { return cmp.Compare(c.held[a].version, c.held[b].version) })
	return all
}

func (c *copies) latest() int { return c.oldestFirst()[copyCount-1] }

// next is the copy to overwrite.
func (c *copies) next() int {
	oldest := c.oldestFirst()
	if v := c.held[oldest[0]].version; v != 0 && v == c.synced {
		return oldest[1]
	}
	return oldest[0]
}

func (s *Store) copyPath(name string, i int) string { return s.path("records", name+copyExt[i]) }

// knownCopies is nil before the record was read or written.
func (s *Store) knownCopies(name string) *copies {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records[name]
}

// copiesOf is what is known, or what the disk says.
func (s *Store) copiesOf(name string) (*copies, error) {
	if c := s.knownCopies(name); c != nil {
		return c, nil
	}
	found, err := s.readCopies(name)
	if err != nil {
		return nil, err
	}
	return s.keepCopies(name, found)
}

func (s *Store) forgetCopies(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, name)
}

// foundCopy is a copy as it was read.
type foundCopy struct {
	index   int
	version uint64 // also of a damaged one, as far as it can be told
	data    []byte
	err     error
}

func (s *Store) readCopies(name string) ([]foundCopy, error) {
	var found []foundCopy
	for i := range copyCount {
		raw, err := os.ReadFile(s.copyPath(name, i))
		if errors.Is(err, fs.ErrNotExist) || (err == nil && len(raw) == 0) {
			continue
		}
		if err != nil {
			return nil, err
		}
		f := foundCopy{index: i}
		f.version, f.data, f.err = decodeCopy(raw)
		found = append(found, f)
	}
	return found, nil
}

func latestOf(found []foundCopy) *foundCopy {
	var latest *foundCopy
	for i := range found {
		if f := &found[i]; f.err == nil && (latest == nil || f.version > latest.version) {
			latest = f
		}
	}
	return latest
}

// keepCopies goes on from what was read. An agent that was killed may not have
// synced what it wrote.
func (s *Store) keepCopies(name string, found []foundCopy) (*copies, error) {
	c := &copies{}
	for _, f := range found {
		if f.err == nil {
			c.held[f.index] = heldCopy{version: f.version, named: true}
		}
	}
	if latest := latestOf(found); latest != nil {
		if err := errors.Join(syncData(s.copyPath(name, latest.index)), syncDir(s.path("records"))); err != nil {
			return nil, err
		}
		c.synced = latest.version
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[name] = c
	return c, nil
}

// copyHeader begins a copy:
//
//	gracefleet 1 record VERSION LENGTH SHA256
//
// The checksum is of the line's other fields and the data.
func copyHeader(version uint64, data []byte) []byte {
	fields := fmt.Appendf(nil, "gracefleet %d record %d %d ", encodingVersion, version, len(data))
	sum := sha256.New()
	sum.Write(fields)
	sum.Write(data)
	return fmt.Appendf(fields, "%x\n", sum.Sum(nil))
}

func encodeCopy(version uint64, data []byte) []byte {
	return append(copyHeader(version, data), data...)
}

// maxCopyHeader is more than a header line can have.
const maxCopyHeader = 160

// decodeCopy accepts what encodeCopy wrote, whatever follows it. Of a damaged copy
// it tells the version if the header still names one.
func decodeCopy(raw []byte) (version uint64, data []byte, err error) {
	line, rest, ok := bytes.Cut(raw, []byte("\n"))
	if !ok || len(line) > maxCopyHeader {
		return 0, nil, fmt.Errorf("%w: no header line in %d bytes", errCorrupt, len(raw))
	}
	fields := strings.Split(string(line), " ")
	if len(fields) != 6 {
		return 0, nil, fmt.Errorf("%w: header %q", errCorrupt, clip(line, 120))
	}
	version, verr := strconv.ParseUint(fields[3], 10, 64)
	length, lerr := strconv.ParseUint(fields[4], 10, 64)
	if err := errors.Join(verr, lerr); err != nil || version == 0 {
		return 0, nil, fmt.Errorf("%w: header %q", errCorrupt, clip(line, 120))
	}
	if length > uint64(len(rest)) {
		return version, nil, fmt.Errorf("%w: %d bytes of %d", errCorrupt, len(rest), length)
	}
	data = rest[:length]
	if !bytes.Equal(raw[:len(line)+1], copyHeader(version, data)) {
		return version, nil, fmt.Errorf("%w: header %q does not fit the %d bytes after it", errCorrupt, clip(line, 120), length)
	}
	return version, data, nil
}

// writeCopy puts data at the beginning of a file and blanks the rest of it.
func writeCopy(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		size := max(int(info.Size()), (len(data)+copyBlock-1)/copyBlock*copyBlock)
		_, err = f.WriteAt(append(data, bytes.Repeat([]byte("\n"), size-len(data))...), 0)
	}
	return errors.Join(err, f.Close())
}

// syncData makes what a file holds durable.
func syncData(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return os.NewSyscallError("fdatasync "+path, err)
	}
	return nil
}
