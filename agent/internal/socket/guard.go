package socket

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// GuardPath keeps the public path leading to the private socket: programs unlink
// their path when they end, and some bind it anew. Whenever that happens it is
// published again and restored is called; between the two, connects fail. It
// starts by putting the path right, and returns when ctx ends, or when the
// directory is gone or the path cannot be published. Before publishing another
// slot, end ctx and wait for GuardPath to return.
func GuardPath(ctx context.Context, private, public string, restored func()) error {
	dir := filepath.Dir(public)
	in, err := inotifyOn(dir)
	if err != nil {
		return fmt.Errorf("guard %s: watch %s: %w", public, dir, err)
	}
	defer in.Close()
	repair := func() error {
		if Published(private, public) {
			return nil
		}
		if err := Publish(private, public); err != nil {
			return fmt.Errorf("guard: %w", err)
		}
		restored()
		return nil
	}
	if err := repair(); err != nil {
		return err
	}
	buf := make([]byte, 16*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
	return eachReadable(ctx, in, func(fd int) (bool, error) {
		n, err := unix.Read(fd, buf)
		if err == unix.EAGAIN || err == unix.EINTR {
			return err == unix.EINTR, nil
		}
		if err != nil {
			return false, fmt.Errorf("guard %s: %w", public, err)
		}
		if concerns(buf[:n], filepath.Base(public)) {
			return true, repair()
		}
		return true, nil
	})
}

func inotifyOn(dir string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	const events = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
		unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, dir, events); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}

// concerns says whether one of the events is about name, about the directory
// itself, or about events that were lost.
func concerns(events []byte, name string) bool {
	const itself = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_IGNORED | unix.IN_Q_OVERFLOW
	for len(events) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(events[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		if end > len(events) {
			return true
		}
		if mask&itself != 0 || string(bytes.TrimRight(events[unix.SizeofInotifyEvent:end], "\x00")) == name {
			return true
		}
		events = events[end:]
	}
	return false
}
