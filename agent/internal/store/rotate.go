package store

import (
	"errors"
	"fmt"
	"os"
	"sort"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Rotation tells what was taken from the head of a log.
type Rotation struct {
	Service    string
	Generation int
	// Cut is how many bytes went.
	Cut int64
	// Lossy says that the file had to be truncated, so that lines written in
	// that very moment, and the kept tail, are gone too.
	Lossy bool
	// Err is why a log could not be cut at all.
	Err error
}

// RotateLogs brings the logs of a service below their cap, as happens by itself
// while they grow. The oldest generation's oldest lines go first.
func (s *Store) RotateLogs(name string) ([]Rotation, error) {
	if err := service.CheckName(name); err != nil {
		return nil, fmt.Errorf("logs: %w", err)
	}
	var errs []error
	done := s.logs.rotate(name)
	for _, r := range done {
		errs = append(errs, r.Err)
	}
	return done, errors.Join(errs...)
}

// rotate cuts down to three quarters of the cap, so that it is not due again
// with the next line. Every generation keeps its end: it may be the one that a
// failure is explained by.
func (l *logs) rotate(name string) []Rotation {
	l.rotating.Lock()
	defer l.rotating.Unlock()
	files := l.of(name)
	var total int64
	for _, f := range files {
		total += f.size()
	}
	if total <= l.limit {
		return nil
	}
	excess := total - l.limit/4*3
	var done []Rotation
	for i, f := range files {
		keep := l.limit / 64
		if i == len(files)-1 {
			keep = 0
		}
		n := min(excess, f.size()-keep)
		if n <= 0 {
			continue
		}
		r := f.cut(n)
		if r.Cut == 0 && r.Err == nil {
			continue // less than a block
		}
		excess -= r.Cut
		done = append(done, r)
		if l.onRotate != nil {
			l.onRotate(r)
		}
	}
	return done
}

// size is how many bytes of the log are on disk.
func (f *logFile) size() int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	info, err := os.Lstat(f.path)
	if err != nil {
		return 0
	}
	return info.Size() - f.index.hole
}

// cut removes about n bytes from the head of the log while programs append to
// it. Collapsing the range moves nothing and loses nothing (ext4, xfs). Where
// there is no such thing, punching it out loses nothing either, but the file's
// apparent size keeps growing (btrfs, tmpfs). The last resort is to truncate.
func (f *logFile) cut(n int64) Rotation {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := Rotation{Service: f.key.service, Generation: f.key.generation}
	file, err := openLogFile(f.path, os.O_RDWR)
	if err != nil {
		r.Err = fmt.Errorf("log of %s, generation %d: %w", f.key.service, f.key.generation, err)
		return r
	}
	defer file.Close()
	for _, way := range []func(*os.File, int64) (int64, error){f.collapse, f.punch} {
		if r.Cut, r.Err = way(file, n); !unsupported(r.Err) {
			return r
		}
	}
	r.Lossy = true
	r.Cut, r.Err = f.truncate(file)
	return r
}

func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}

// collapse needs whole blocks and must leave some bytes (fallocate(2)).
func (f *logFile) collapse(file *os.File, n int64) (int64, error) {
	hole := f.index.hole
	n, err := wholeBlocks(file, n+hole)
	if n <= hole || err != nil {
		return 0, err
	}
	f.index.willCut(file, n)
	if err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_COLLAPSE_RANGE, 0, n); err != nil {
		f.index.setBase(f.index.base) // nothing was cut
		return 0, fmt.Errorf("log %s: collapse: %w", f.path, err)
	}
	f.index.hole = 0
	f.index.setBase(f.index.base + n)
	return n - hole, nil
}

func (f *logFile) punch(file *os.File, n int64) (int64, error) {
	hole := f.index.hole
	n, err := wholeBlocks(file, n+hole)
	if n <= hole || err != nil {
		return 0, err
	}
	if err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, n); err != nil {
		return 0, fmt.Errorf("log %s: punch: %w", f.path, err)
	}
	f.index.hole = n
	return n - hole, nil
}

func (f *logFile) truncate(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	f.index.willCut(file, info.Size())
	if err := file.Truncate(0); err != nil {
		f.index.setBase(f.index.base)
		return 0, fmt.Errorf("log %s: truncate: %w", f.path, err)
	}
	n := info.Size() - f.index.hole
	f.index.hole = 0
	f.index.setBase(f.index.base + info.Size())
	return n, nil
}

// wholeBlocks rounds n down to blocks of the file system, at least one short of
// the file's end.
func wholeBlocks(file *os.File, n int64) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &st); err != nil {
		return 0, err
	}
	n = min(n, info.Size()-1)
	return max(0, n-n%st.Bsize), nil
}

func sortLogs(list []*logFile) {
	sort.Slice(list, func(i, j int) bool { return list[i].key.generation < list[j].key.generation })
}
