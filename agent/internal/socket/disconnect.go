package socket

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Nudge has a program believe that the clients of connections which were idle for
// that long have gone: it closes them politely. It shuts their reading side down
// in a duplicate of the program's descriptor (pidfd_getfd(2)), which takes the
// right to trace it. A request that arrives in that instant is not answered. It
// returns how many it nudged.
func Nudge(ctx context.Context, s Scope, quiet time.Duration) (int, error) {
	quietOnes := map[uint64]bool{} // by inode
	_, err := s.visitInet(func(c *inetSock) {
		since := time.Duration(min(c.lastSent, c.lastReceived)) * time.Millisecond
		if c.state == tcpEstablished && classify(c) == idle && since >= quiet {
			quietOnes[c.inode] = true
		}
	})
	if err != nil || len(quietOnes) == 0 || s.PIDs == nil {
		return 0, err
	}
	nudged := 0
	var errs []error
	for _, pid := range s.PIDs() {
		n, err := nudge(ctx, pid, quietOnes)
		nudged += n
		errs = append(errs, err)
	}
	return nudged, errors.Join(errs...)
}

func nudge(ctx context.Context, pid int, idle map[uint64]bool) (n int, err error) {
	sockets, err := HeldBy(pid)
	if err != nil {
		return 0, nil // it ended meanwhile
	}
	pidfd := -1
	defer func() {
		if pidfd >= 0 {
			unix.Close(pidfd)
		}
	}()
	for inode, number := range sockets {
		if !idle[inode] || ctx.Err() != nil {
			continue
		}
		if pidfd < 0 {
			if pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
				return 0, nil
			}
		}
		fd, err := unix.PidfdGetfd(pidfd, number, 0)
		if err != nil {
			return n, fmt.Errorf("take a connection of process %d: %w", pid, err)
		}
		// The number may be another socket's by now.
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Ino == inode {
			if unix.Shutdown(fd, unix.SHUT_RD) == nil {
				n++
			}
			delete(idle, inode) // workers share descriptors
		}
		unix.Close(fd)
	}
	return n, nil
}

// diagDestroy is SOCK_DESTROY (linux/sock_diag.h), which x/sys lacks.
const diagDestroy = 21

// Destroy resets the open tcp connections of a scope and returns whose they were.
// It takes CAP_NET_ADMIN and a kernel with INET_DIAG_DESTROY: without, the error
// is EPERM or EOPNOTSUPP.
func Destroy(ctx context.Context, s Scope) ([]netip.AddrPort, error) {
	var requests [][]byte
	var peers []netip.AddrPort
	_, err := s.visitInet(func(c *inetSock) {
		if classify(c) == closing {
			return
		}
		requests = append(requests, destroyRequest(c))
		peers = append(peers, unmap(c.remote))
	})
	if err != nil || len(requests) == 0 {
		return nil, err
	}
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	defer conn.Close()
	var gone []netip.AddrPort
	for i, r := range requests {
		if ctx.Err() != nil {
			return gone, context.Cause(ctx)
		}
		_, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: diagDestroy, Flags: netlink.Request | netlink.Acknowledge}, Data: r,
		})
		if errors.Is(err, unix.ENOENT) {
			continue // it ended by itself
		}
		if err != nil {
			return gone, fmt.Errorf("destroy the connection of %s: %w", peers[i], err)
		}
		gone = append(gone, peers[i])
	}
	return gone, nil
}

// destroyRequest names one socket by its addresses and its cookie.
func destroyRequest(c *inetSock) []byte {
	b := make([]byte, inetRequestBytes)
	b[0], b[1] = c.family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], 1<<c.state)
	binary.BigEndian.PutUint16(b[8:], c.local.Port())
	binary.BigEndian.PutUint16(b[10:], c.remote.Port())
	copy(b[12:28], c.local.Addr().AsSlice())
	copy(b[28:44], c.remote.Addr().AsSlice())
	binary.NativeEndian.PutUint32(b[44:], c.iface)
	binary.NativeEndian.PutUint32(b[48:], uint32(c.cookie))
	binary.NativeEndian.PutUint32(b[52:], uint32(c.cookie>>32))
	return b
}
