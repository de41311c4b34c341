package socket

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
)

// Nonblocking says whether O_NONBLOCK is set on the socket. The flag belongs to
// the open file, so a program sets it for everybody who holds a duplicate.
func Nonblocking(f *os.File) (bool, error) {
	var flags int
	err := listen.Control(f, func(fd int) (err error) {
		flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("read the flags of %s: %w", f.Name(), err)
	}
	return flags&unix.O_NONBLOCK != 0, nil
}

// SetNonblocking sets or clears O_NONBLOCK. Clear it before a program starts on
// a socket that another one used: one that accepts blockingly dies of EAGAIN.
func SetNonblocking(f *os.File, on bool) error {
	if err := listen.Control(f, func(fd int) error { return unix.SetNonblock(fd, on) }); err != nil {
		return fmt.Errorf("change O_NONBLOCK of %s: %w", f.Name(), err)
	}
	return nil
}

// Inode is the number of a socket, as in "socket:[N]" of /proc/PID/fd.
func Inode(f *os.File) (uint64, error) {
	var st unix.Stat_t
	err := listen.Control(f, func(fd int) error { return unix.Fstat(fd, &st) })
	return st.Ino, err
}

// getsockopt reads one integer option.
func getsockopt(f *os.File, level, opt int) (int, error) {
	var v int
	err := listen.Control(f, func(fd int) (err error) {
		v, err = unix.GetsockoptInt(fd, level, opt)
		return err
	})
	return v, err
}
