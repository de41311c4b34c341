package trust

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrUnsafe means that somebody who is not trusted decides where a path leads.
var ErrUnsafe = errors.New("others decide what is found there")

// maxLinks is the kernel's own limit (path_resolution(7)).
const maxLinks = 40

// step is one place on the way: a directory, a symbolic link, or the end.
type step struct {
	fd   int // O_PATH
	path string
	stat unix.Stat_t
	// trusted says that its owner is.
	trusted bool
}

func (s step) is(kind uint32) bool { return s.stat.Mode&unix.S_IFMT == kind }

func (s step) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
	}
}

// walker follows one path.
type walker struct {
	root  step
	at    step
	by    unix.Stat_t // the directory or link that says where it goes on
	rest  []string
	links int
}

// walk returns the end of a path, which the caller closes. Links are read and never
// followed by the kernel, so that those of /proc, which lead to where no path does,
// have no effect. A link at the very end is followed when follow says so.
func walk(path string, follow bool) (step, error) {
	if !filepath.IsAbs(path) {
		return step{}, fmt.Errorf("path %q is relative", path)
	}
	root, err := open(unix.AT_FDCWD, "/", "/")
	if err != nil {
		return step{}, err
	}
	w := &walker{root: root, at: root, by: root.stat, rest: strings.Split(filepath.Clean(path), "/")}
	defer root.close()
	for len(w.rest) > 0 {
		if err := w.step(follow); err != nil {
			w.leave()
			return step{}, err
		}
	}
	if w.at.fd == root.fd {
		return step{}, fmt.Errorf("path %q names nothing", path)
	}
	w.at.trusted = w.trusted(w.at.stat.Uid)
	return w.at, nil
}

// leave closes where the walker is.
func (w *walker) leave() {
	if w.at.fd != w.root.fd {
		w.at.close()
	}
}

// step takes the next name of the path.
func (w *walker) step(follow bool) error {
	name := w.rest[0]
	w.rest = w.rest[1:]
	if name == "" || name == "." {
		return nil
	}
	next, err := open(w.at.fd, name, strings.TrimSuffix(w.at.path, "/")+"/"+name)
	for _, by := range []unix.Stat_t{w.at.stat, w.by} {
		if err == nil {
			err = w.safe(by, next)
		}
	}
	if err != nil {
		next.close()
		return err
	}
	if !next.is(unix.S_IFLNK) || (!follow && len(w.rest) == 0) {
		w.leave()
		w.at, w.by = next, next.stat
		return nil
	}
	defer next.close()
	target, err := w.target(next)
	if err != nil {
		return err
	}
	if filepath.IsAbs(target) {
		w.leave()
		w.at = w.root
	}
	w.by, w.rest = next.stat, append(strings.Split(target, "/"), w.rest...)
	return nil
}

// safe says whether the way may go on to a place. What is below a directory, or behind
// a link, of somebody who is not trusted must be theirs, too: they could have put a
// link to anybody's file there, or move the file in its place away. What anybody may
// write to is nobody's, unless it is sticky: then names stay their owners'.
func (w *walker) safe(by unix.Stat_t, to step) error {
	link := by.Mode&unix.S_IFMT == unix.S_IFLNK
	switch {
	case !link && by.Mode&unix.S_IWOTH != 0 && by.Mode&unix.S_ISVTX == 0:
		return fmt.Errorf("%s: %w: everybody may write to the directory that it is in", to.path, ErrUnsafe)
	case !w.trusted(by.Uid) && to.stat.Uid != by.Uid:
		return fmt.Errorf("%s: %w: it belongs to uid %d, and the way there to uid %d", to.path, ErrUnsafe, to.stat.Uid, by.Uid)
	}
	return nil
}

func (w *walker) trusted(uid uint32) bool { return uid == w.root.stat.Uid || int(uid) == os.Geteuid() }

func (w *walker) target(link step) (string, error) {
	if w.links++; w.links > maxLinks {
		return "", &os.PathError{Op: "open", Path: link.path, Err: unix.ELOOP}
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link.fd, "", buf)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: link.path, Err: err}
	}
	return string(buf[:n]), nil
}

// open opens a place without touching what is there: no device notices, no fifo waits.
func open(dir int, name, path string) (step, error) {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return step{fd: -1}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	s := step{fd: fd, path: path}
	if err := unix.Fstat(fd, &s.stat); err != nil {
		s.close()
		return step{fd: -1}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return s, nil
}
