package listen

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// File wraps a descriptor, which it then owns, also on error. Unlike os.NewFile
// it never hands a non-blocking descriptor to Go's poller: the poller would wake
// this process for every connection that somebody else is there to accept.
func File(fd int, name string) (*os.File, error) {
	defer unix.Close(fd)
	// os decides by O_NONBLOCK at birth, and that flag belongs to every holder of
	// the socket. So the File is born around /dev/null and the socket put under it.
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hold %s: open /dev/null: %w", name, err)
	}
	f := os.NewFile(uintptr(null), name)
	if err := unix.Dup3(fd, null, unix.O_CLOEXEC); err != nil {
		f.Close()
		return nil, fmt.Errorf("hold %s: %w", name, err)
	}
	return f, nil
}

// Control runs fn on f's descriptor, which cannot be closed, and its number used
// for another file, meanwhile. os.File.Fd is not used: it does not prevent that,
// and it may clear O_NONBLOCK, which the program shares with us.
func Control(f *os.File, fn func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = fn(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// Dup returns another descriptor of the same socket, wrapped like File.
func Dup(f *os.File) (*os.File, error) {
	var fd int
	err := Control(f, func(own int) (err error) {
		fd, err = unix.FcntlInt(uintptr(own), unix.F_DUPFD_CLOEXEC, 3)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", f.Name(), err)
	}
	return File(fd, f.Name())
}

// Listen listens (again): after a shutdown the socket rejoins its group as the
// last member; on a listening socket only the backlog changes.
func Listen(f *os.File, backlog int) error {
	if err := Control(f, func(fd int) error { return unix.Listen(fd, backlog) }); err != nil {
		return fmt.Errorf("listen on %s: %w", f.Name(), err)
	}
	return nil
}

// Cookie is the kernel's 64-bit name of the socket, never used again while the
// host is up (SO_COOKIE, Linux 4.12; also what sock_diag reports).
func Cookie(f *os.File) (uint64, error) {
	var c uint64
	err := Control(f, func(fd int) (err error) {
		c, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read the cookie of %s: %w", f.Name(), err)
	}
	return c, nil
}

// Accepting says whether the socket listens (SO_ACCEPTCONN). It is false for UDP
// and after somebody shut the socket down.
func Accepting(f *os.File) bool {
	var v int
	err := Control(f, func(fd int) (err error) {
		v, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		return err
	})
	return err == nil && v == 1
}
