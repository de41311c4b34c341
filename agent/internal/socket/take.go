package socket

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Take duplicates the socket with that inode, which a process that the pidfd names
// has under a number (pidfd_getfd(2), Linux 5.6). That needs the right to trace the
// process. Whatever else is under the number by now is an error.
func Take(pidfd, number int, inode uint64, name string) (*os.File, error) {
	fd, err := unix.PidfdGetfd(pidfd, number, 0)
	if err != nil {
		return nil, fmt.Errorf("take the listener on %s over: %w", name, os.NewSyscallError("pidfd_getfd", err))
	}
	f, err := listen.File(fd, name)
	if err != nil {
		return nil, err
	}
	if is, err := Inode(f); err != nil || is != inode {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("take the listener on %s over: the program has closed it", name))
	}
	return f, nil
}

// Share makes a listener that somebody else opened the member of a group, and steers
// all connections to it. Its program notices nothing. One that has a group stays in
// it.
//
// SO_REUSEPORT can be set late, but the kernel makes the group only when a second
// member listens (inet_reuseport_add_sock). Here that is one which drops
// everything: a connection that meets it in the few microseconds before the
// program is attached is asked for again by its sender.
//
// The group is made the agent's: another process of the program's user could join
// it otherwise. Multipath TCP keeps the owner of its subflow, whatever is said: only
// that user's sockets can join.
func Share(f *os.File, s service.Socket, owner int) error {
	protocol, err := getsockopt(f, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err == nil && protocol == unix.IPPROTO_TCP {
		owner, err = os.Geteuid(), listen.Own(f, os.Geteuid())
	}
	grouped := 0
	if err == nil {
		grouped, err = getsockopt(f, unix.SOL_SOCKET, unix.SO_REUSEPORT)
	}
	if err == nil && grouped == 0 {
		err = group(f, s, owner)
	}
	if err != nil {
		return fmt.Errorf("share the listener on %s: %w", s.Address, err)
	}
	return nil
}

func group(f *os.File, s service.Socket, owner int) error {
	first, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return err
	}
	if err := reusePort(f, 1); err != nil {
		return err
	}
	second, err := listen.Open(s, listen.Options{Guard: true, Owner: &owner})
	if errors.Is(err, unix.EPERM) {
		second, err = listen.Open(s, listen.Options{Owner: &owner}) // without root: see Options
	}
	if err != nil {
		return errors.Join(whyNot(f, err), reusePort(f, 0))
	}
	defer second.Close()
	return Attach(second, first)
}

// whyNot names the usual cause: connections of a listener without SO_REUSEADDR
// keep its port.
func whyNot(f *os.File, err error) error {
	on, _ := getsockopt(f, unix.SOL_SOCKET, unix.SO_REUSEADDR)
	if !errors.Is(err, unix.EADDRINUSE) || on != 0 {
		return err
	}
	return fmt.Errorf("its program opened it without SO_REUSEADDR, and its connections keep the port: stop it and use gracectl apply (%w)", err)
}

func reusePort(f *os.File, on int) error {
	return listen.Control(f, func(fd int) error {
		return os.NewSyscallError("set SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, on))
	})
}
