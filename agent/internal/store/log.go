package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

const (
	logExt   = ".log"
	indexExt = ".index"
)

// logs are all log files, and the goroutine that watches them grow.
type logs struct {
	dir      string
	limit    int64 // bytes of all logs of one service
	onRotate func(Rotation)

	rotating sync.Mutex // one rotation at a time

	mu      sync.Mutex
	files   map[logKey]*logFile
	watcher *watcher
}

type logKey struct {
	service    string
	generation int
}

// logFile is the log of one generation. Offsets in it are logical: they count
// from the first byte ever written and stay valid when bytes are rotated away.
type logFile struct {
	key  logKey
	path string

	// mu is held for writing while bytes move within the file. Programs know
	// nothing of it: the kernel keeps their appends apart from a collapse.
	mu      sync.RWMutex
	index   index
	removed bool
}

func openLogs(dir string, o Options) (*logs, error) {
	l := &logs{dir: dir, limit: o.LogCap, onRotate: o.OnRotate, files: map[logKey]*logFile{}}
	found, err := filepath.Glob(filepath.Join(dir, "*", "*"+logExt))
	if err != nil {
		return nil, err
	}
	if l.watcher, err = newWatcher(l); err != nil {
		return nil, fmt.Errorf("logs: %w", err)
	}
	for _, path := range found {
		if key, ok := keyOf(path); ok {
			l.get(key)
		}
	}
	l.watcher.start()
	return l, nil
}

func keyOf(path string) (logKey, bool) {
	n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(path), logExt))
	name := filepath.Base(filepath.Dir(path))
	return logKey{name, n}, err == nil && n > 0 && service.CheckName(name) == nil
}

func (l *logs) close() error { return l.watcher.close() }

func (l *logs) path(key logKey) string {
	return filepath.Join(l.dir, key.service, strconv.Itoa(key.generation)+logExt)
}

// get returns the file of a generation, which exists on disk.
func (l *logs) get(key logKey) *logFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.files[key]; f != nil {
		return f
	}
	f := &logFile{key: key, path: l.path(key)}
	f.index.open(f.path)
	l.files[key] = f
	l.watcher.add(f)
	return f
}

// of returns the files of a service, the oldest generation first.
func (l *logs) of(service string) []*logFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []*logFile
	for key, f := range l.files {
		if key.service == service {
			list = append(list, f)
		}
	}
	sortLogs(list)
	return list
}

// LogPath is where a generation's program writes. OpenLog creates the file;
// later a shim may open the path again, to append.
func (s *Store) LogPath(service string, generation int) string {
	return s.logs.path(logKey{service, generation})
}

// OpenLog opens the log of a generation for a program to write: append only,
// so that any number of writers and a rotation go together. A new file belongs
// to uid and gid (-1 keeps the agent's), since a program may open /dev/stdout
// anew; its directory is the agent's alone.
func (s *Store) OpenLog(name string, generation, uid, gid int) (*os.File, error) {
	if err := service.CheckName(name); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	if generation < 1 {
		return nil, fmt.Errorf("log of %s: generation %d: they count from 1", name, generation)
	}
	key := logKey{name, generation}
	path := s.logs.path(key)
	if err := ownDir(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("log: %w", diskFull(err))
	}
	f, err := openLogFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE)
	if err != nil {
		return nil, fmt.Errorf("log: %w", diskFull(err))
	}
	if uid >= 0 || gid >= 0 {
		if err := f.Chown(uid, gid); err != nil {
			f.Close()
			return nil, fmt.Errorf("log: %w", err)
		}
	}
	s.logs.get(key)
	return f, nil
}

// RemoveLogs removes the log of a generation, or with generation 0 all logs of
// the service. A program that still writes to one writes into the void.
func (s *Store) RemoveLogs(name string, generation int) error {
	if err := service.CheckName(name); err != nil {
		return fmt.Errorf("logs: %w", err)
	}
	var errs []error
	for _, f := range s.logs.of(name) {
		if generation == 0 || f.key.generation == generation {
			errs = append(errs, s.logs.remove(f))
		}
	}
	if generation == 0 {
		errs = append(errs, os.RemoveAll(filepath.Join(s.logs.dir, name)))
	}
	return errors.Join(errs...)
}

func (l *logs) remove(f *logFile) error {
	l.mu.Lock()
	delete(l.files, f.key)
	l.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removed = true
	f.index.remove()
	if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("log: %w", err)
	}
	return nil
}
