package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// markEvery is the distance of marks in a log that grows.
const markEvery = time.Second

// watcher marks times in logs that grow and rotates those that grew too far.
//
// Each quiet log has a one-shot inotify watch: its first write wakes the
// goroutine, which then looks once a second until the log is quiet again. So a
// busy log costs one wake-up a second, a quiet one none.
type watcher struct {
	logs *logs
	file *os.File
	fd   int
	done chan struct{}

	mu    sync.Mutex
	quiet map[int32]*logFile // by watch descriptor
}

func newWatcher(l *logs) (*watcher, error) {
	f, fd, err := newInotify()
	if err != nil {
		return nil, err
	}
	return &watcher{logs: l, file: f, fd: fd, done: make(chan struct{}), quiet: map[int32]*logFile{}}, nil
}

// newInotify returns an inotify instance that the runtime's poller waits for.
// The number stays valid as long as the file is open; (*os.File).Fd would make
// reads block a thread.
func newInotify() (*os.File, int, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, 0, fmt.Errorf("inotify: %w: raise fs.inotify.max_user_instances", err)
	}
	return os.NewFile(uintptr(fd), "inotify"), fd, nil
}

func (w *watcher) start() { go w.run() }

func (w *watcher) close() error {
	err := w.file.Close()
	<-w.done
	return err
}

// add waits for the next write to f. Where no watch is to be had, f has no
// times and no cap until the agent's next start.
func (w *watcher) add(f *logFile) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// A removed log has no file, and this fails.
	wd, err := unix.InotifyAddWatch(w.fd, f.path, unix.IN_MODIFY|unix.IN_ONESHOT)
	if err == nil {
		w.quiet[int32(wd)] = f
	}
}

// take ends a watch and returns the file it was for, once.
func (w *watcher) take(wd int32) *logFile {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.quiet[wd]
	delete(w.quiet, wd)
	return f
}

func (w *watcher) run() {
	defer close(w.done)
	busy := map[*logFile]bool{}
	var due time.Time
	buf := make([]byte, 4096)
	for {
		_ = w.file.SetReadDeadline(due) // the zero time is none
		n, err := w.file.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			w.look(busy)
			due = time.Time{}
		case err != nil:
			return
		}
		for _, e := range parseEvents(buf[:max(n, 0)]) {
			// Its last event, IN_IGNORED, takes the watch of a removed log.
			if f := w.take(e.Wd); f != nil && e.Mask&unix.IN_MODIFY != 0 {
				f.note()
				busy[f] = true
			}
		}
		if len(busy) > 0 && due.IsZero() {
			due = time.Now().Add(markEvery)
		}
	}
}

// look marks the busy logs that grew and returns the others to their watches.
func (w *watcher) look(busy map[*logFile]bool) {
	services := map[string]bool{}
	for f := range busy {
		services[f.key.service] = true
		if f.note() {
			continue
		}
		w.add(f)
		if !f.note() { // nothing came between the look and the watch
			delete(busy, f)
		}
	}
	for name := range services {
		w.logs.rotate(name)
	}
}

// note marks the log's size and says whether it changed since the last mark.
func (f *logFile) note() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Lstat(f.path)
	if err != nil || f.removed {
		return false
	}
	if f.index.base+info.Size() < f.index.last.offset {
		// Somebody else truncated the file: it begins anew.
		f.index.hole = 0
		f.index.setBase(f.index.last.offset)
	}
	size := f.index.base + info.Size()
	if size == f.index.last.offset {
		return false
	}
	f.index.mark(mark{time.Now(), size})
	return true
}

// parseEvents reads a row of struct inotify_event (inotify(7)).
func parseEvents(b []byte) []unix.InotifyEvent {
	var list []unix.InotifyEvent
	for len(b) >= unix.SizeofInotifyEvent {
		e := unix.InotifyEvent{
			Wd:   int32(binary.NativeEndian.Uint32(b)),
			Mask: binary.NativeEndian.Uint32(b[4:]),
			Len:  binary.NativeEndian.Uint32(b[12:]),
		}
		list = append(list, e)
		b = b[min(len(b), unix.SizeofInotifyEvent+int(e.Len)):]
	}
	return list
}
