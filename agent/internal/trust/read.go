package trust

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrTooLarge means that a file has more bytes than the limit.
var ErrTooLarge = errors.New("file too large")

// File is what was read of a file, and whose it is.
type File struct {
	Data []byte
	UID  uint32
	// Public says that everybody may read it.
	Public bool

	trusted bool
}

// By says whether nobody but the agent, root or a user decides what is in the file.
func (f File) By(uid int) bool { return f.trusted || (uid >= 0 && int(f.UID) == uid) }

// ReadFile reads a regular file of at most limit bytes at an absolute path. It waits for
// nobody: no fifo's writer, no device, no terminal. Whoever decides where the path leads
// could have the agent read any file for them; where that is another than the file's
// owner and root it is ErrUnsafe, as is a file that everybody may write to. Hard links
// are left to the kernel (fs.protected_hardlinks, proc_sys_fs(5)).
func ReadFile(path string, limit int) (File, error) {
	end, err := walk(path, true)
	if err != nil {
		return File{}, err
	}
	defer end.close()
	switch {
	case !end.is(unix.S_IFREG):
		return File{}, fmt.Errorf("%s: not a regular file", path)
	case end.stat.Mode&unix.S_IWOTH != 0:
		return File{}, fmt.Errorf("%s: %w: everybody may write to it: chmod o-w", path, ErrUnsafe)
	case end.stat.Size > int64(limit):
		return File{}, tooLarge(path, limit)
	}
	// Opened for reading only now: to open a device is to use it.
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(end.fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return File{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	data, err := readAll(fd, limit, int(end.stat.Size))
	switch {
	case err != nil:
		return File{}, &os.PathError{Op: "read", Path: path, Err: err}
	case len(data) > limit:
		return File{}, tooLarge(path, limit)
	}
	return File{Data: data, UID: end.stat.Uid, Public: end.stat.Mode&unix.S_IROTH != 0, trusted: end.trusted}, nil
}

func tooLarge(path string, limit int) error {
	return fmt.Errorf("%s: %w: more than %d bytes", path, ErrTooLarge, limit)
}

// readAll reads at most one byte more than limit. Go's own files would wait in the
// poller for a file of /proc that has nothing to say.
func readAll(fd, limit, size int) ([]byte, error) {
	buf := make([]byte, 0, min(size, limit)+1)
	for len(buf) <= limit {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := unix.Read(fd, buf[len(buf):min(cap(buf), limit+1)])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, err
		case n == 0:
			return buf, nil
		default:
			buf = buf[:len(buf)+n]
		}
	}
	return buf, nil
}
