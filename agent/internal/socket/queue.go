package socket

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
)

// Queue returns what waits on a socket and how much may: connections not yet
// accepted and the backlog for tcp and unix; bytes not yet read and the receive
// buffer for udp. A tcp socket that no longer listens has 0, 0.
func Queue(f *os.File) (queued, limit int, err error) {
	queued, limit, err = queue(f)
	if err != nil {
		return 0, 0, fmt.Errorf("read the queue of %s: %w", f.Name(), err)
	}
	return queued, limit, nil
}

func queue(f *os.File) (queued, limit int, err error) {
	domain, err := getsockopt(f, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return 0, 0, err
	}
	if domain == unix.AF_UNIX {
		return unixQueue(f)
	}
	kind, err := getsockopt(f, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return 0, 0, err
	}
	if kind == unix.SOCK_DGRAM {
		return udpQueue(f, domain)
	}
	return tcpQueue(f)
}

// tcpQueue: of a listening socket, tcpi_unacked is the accept queue's length
// and tcpi_sacked the backlog (tcp_get_info in net/ipv4/tcp.c).
func tcpQueue(f *os.File) (queued, limit int, err error) {
	var info *unix.TCPInfo
	err = listen.Control(f, func(fd int) (err error) {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	})
	if err != nil || info.State != tcpListen {
		return 0, 0, err
	}
	return int(info.Unacked), int(info.Sacked), nil
}

// udpQueue asks sock_diag: SO_MEMINFO also counts memory of datagrams that have
// been read already.
func udpQueue(f *os.File, domain int) (queued, limit int, err error) {
	cookie, err := listen.Cookie(f)
	if err != nil {
		return 0, 0, err
	}
	port, err := localPort(f)
	if err != nil {
		return 0, 0, err
	}
	if limit, err = getsockopt(f, unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil {
		return 0, 0, err
	}
	found := false
	req := inetRequest{family: uint8(domain), proto: unix.IPPROTO_UDP, states: allStates, port: port}
	err = inetDump(req, func(s *inetSock) {
		if s.cookie == cookie {
			queued, found = int(s.rqueue), true
		}
	})
	if err == nil && !found {
		err = errors.New("the kernel does not list the socket: it is not bound")
	}
	return queued, limit, err
}

func localPort(f *os.File) (uint16, error) {
	var sa unix.Sockaddr
	err := listen.Control(f, func(fd int) (err error) {
		sa, err = unix.Getsockname(fd)
		return err
	})
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return uint16(sa.Port), nil
	case *unix.SockaddrInet6:
		return uint16(sa.Port), nil
	}
	return 0, err
}

// RestoreBacklog sets the backlog of a listening socket again, since programs
// call listen(2) with their own. Its index in its group stays. On a socket that
// does not listen any more it would join its group anew, so that is refused.
func RestoreBacklog(f *os.File, n int) error {
	if !listen.Accepting(f) {
		return fmt.Errorf("restore the backlog of %s: the socket no longer listens", f.Name())
	}
	if err := listen.Control(f, func(fd int) error { return unix.Listen(fd, n) }); err != nil {
		return fmt.Errorf("restore the backlog of %s to %d: %w", f.Name(), n, err)
	}
	return nil
}
