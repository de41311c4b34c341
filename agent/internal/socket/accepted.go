package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// ErrReset is returned by Accepted when the program, or the kernel on its
// behalf, refused the connection after it had been made.
var ErrReset = errors.New("the connection was reset")

// Accepted waits until the program has accepted conn, which ProbeDialer opened
// to the slot whose listener is f. A connect alone proves nothing: the slot
// listens before the program runs. With TCP_DEFER_ACCEPT a program sees the
// connection only once data was sent. Only ctx bounds it.
func Accepted(ctx context.Context, conn net.Conn, f *os.File) error {
	test := func() (bool, error) { return acceptedUnix(f) }
	if tcp, ok := conn.(*net.TCPConn); ok {
		test = func() (bool, error) { return acceptedTCP(tcp) }
	}
	if err := poll(ctx, test); err != nil {
		return fmt.Errorf("wait until the program accepts a connection on %s: %w", f.Name(), err)
	}
	return nil
}

// acceptedTCP looks at the other end: accept(2) gives it an inode.
func acceptedTCP(conn *net.TCPConn) (bool, error) {
	server, client := conn.RemoteAddr().(*net.TCPAddr).AddrPort(), conn.LocalAddr().(*net.TCPAddr).AddrPort()
	b, err := diagGet(oneConnection(unmap(server), unmap(client)))
	if errors.Is(err, unix.ENOENT) {
		return endedByProgram(conn)
	}
	if err != nil {
		return false, err
	}
	s, err := decodeInet(b)
	if err != nil {
		return false, err
	}
	switch s.state {
	case tcpEstablished, tcpCloseWait:
		return s.inode != 0, nil
	case tcpSynRecv, tcpNewSynRecv:
		return false, nil
	case tcpListen: // the kernel fell back to the listener: the other end is gone
		return endedByProgram(conn)
	}
	return true, nil // the program closed it, so it had accepted it
}

// endedByProgram: a connection whose other end is gone was closed by the
// program, unless it was reset.
func endedByProgram(conn *net.TCPConn) (bool, error) {
	c, err := conn.SyscallConn()
	if err != nil {
		return false, err
	}
	var info *unix.TCPInfo
	var inner error
	err = c.Control(func(fd uintptr) {
		info, inner = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err := errors.Join(err, inner); err != nil {
		return false, err
	}
	if info.State == tcpClose {
		return false, ErrReset
	}
	return info.State == tcpCloseWait, nil
}

// acceptedUnix: only probes come by the private path of a slot at weight 0, so
// an empty queue means that the program took this one.
func acceptedUnix(f *os.File) (bool, error) {
	queued, _, err := Queue(f)
	return err == nil && queued == 0, err
}
