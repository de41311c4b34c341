package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Peer is who connected to the socket, as the kernel recorded it at connect(2).
type Peer struct {
	UID, GID uint32
	PID      int32
	// Name of the user, empty when the host knows none.
	Name   string
	groups []uint32
}

// AuthType names how the peer was identified.
func (Peer) AuthType() string { return "unix-peer" }

// String is how the peer appears as an actor, such as "alice (uid 1000)".
func (p Peer) String() string {
	if p.Name == "" {
		return fmt.Sprintf("uid %d", p.UID)
	}
	return fmt.Sprintf("%s (uid %d)", p.Name, p.UID)
}

// peerOf is who makes a call.
func peerOf(ctx context.Context) (Peer, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Peer{}, false
	}
	who, ok := p.AuthInfo.(Peer)
	return who, ok
}

// peerCredentials identify the peers of a unix socket. Root, the agent's own
// user and members of the socket's group may enter; the socket's mode says the
// same, and this holds also when somebody changed that.
type peerCredentials struct {
	owner, group uint32
	gate         *gate
}

// ServerHandshake asks the kernel who connected.
func (c *peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	who, err := readPeer(conn)
	if err != nil {
		return nil, nil, fmt.Errorf("peer of %s: %w", conn.LocalAddr(), err)
	}
	if !c.allows(who) {
		return nil, nil, fmt.Errorf("%s may not use %s: it is for root, uid %d and group %d", who, conn.LocalAddr(), c.owner, c.group)
	}
	counted, err := c.gate.enter(who.UID, conn)
	if err != nil {
		return nil, nil, err
	}
	return counted, who, nil
}

func (c *peerCredentials) allows(p Peer) bool {
	return p.UID == 0 || p.UID == c.owner || p.GID == c.group || slices.Contains(p.groups, c.group)
}

// ClientHandshake is never used.
func (c *peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("peer credentials are for servers")
}

// Info names the protocol.
func (c *peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix-peer"}
}

// Clone shares the gate: it counts for the server.
func (c *peerCredentials) Clone() credentials.TransportCredentials {
	copied := *c
	return &copied
}

// OverrideServerName is for clients.
func (c *peerCredentials) OverrideServerName(string) error { return nil }

func readPeer(conn net.Conn) (Peer, error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return Peer{}, errors.New("not a unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var p Peer
	var failed error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); failed != nil {
			return
		}
		p = Peer{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}
		p.groups, failed = peerGroups(fd)
	})
	if err := errors.Join(err, failed); err != nil {
		return Peer{}, err
	}
	if entry, err := user.LookupId(strconv.FormatUint(uint64(p.UID), 10)); err == nil {
		p.Name = entry.Username
	}
	return p, nil
}

// peerGroups are the supplementary groups of the process that connected
// (SO_PEERGROUPS, unix(7), Linux 4.13; none on older kernels).
func peerGroups(fd uintptr) ([]uint32, error) {
	buf := make([]byte, 4*256)
	for {
		size := uint32(len(buf))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == syscall.ERANGE && int(size) > len(buf):
			buf = make([]byte, size)
			continue
		case errno == syscall.ENOPROTOOPT:
			return nil, nil
		case errno != 0:
			return nil, os.NewSyscallError("getsockopt SO_PEERGROUPS", errno)
		}
		var groups []uint32
		for b := buf[:size]; len(b) >= 4; b = b[4:] {
			groups = append(groups, binary.NativeEndian.Uint32(b))
		}
		return groups, nil
	}
}
