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

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/audit"
)

// Peer is who connected to the socket, as the kernel recorded it at connect(2).
type Peer struct {
	UID, GID uint32
	PID      int32
	// Name of the user, empty when the host knows none.
	Name   string
	groups []uint32
}

// String is how the peer appears as an actor, such as "alice (uid 1000)".
func (p Peer) String() string {
	if p.Name == "" {
		return fmt.Sprintf("uid %d", p.UID)
	}
	return fmt.Sprintf("%s (uid %d)", p.Name, p.UID)
}

// roles are those of the peer's groups. A group that the host does not know has
// none.
func (p Peer) roles(policy *access.Policy) []string {
	var out []string
	for name, role := range policy.Groups {
		g, err := user.LookupGroup(name)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(g.Gid, 10, 32)
		if err == nil && (uint32(gid) == p.GID || slices.Contains(p.groups, uint32(gid))) {
			out = append(out, role)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// peerCredentials identify the peers of a unix socket. Root, the agent's own user
// and members of groups with a role may enter; this holds whatever the socket's
// mode is.
type peerCredentials struct {
	server   *Server
	refusals *quietLog
}

// ServerHandshake asks the kernel who connected.
func (c *peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	who, err := readPeer(conn)
	if err != nil {
		return nil, nil, fmt.Errorf("peer of %s: %w", conn.LocalAddr(), err)
	}
	caller := Caller{Name: who.String(), From: fmt.Sprintf("unix pid %d", who.PID), key: fmt.Sprintf("uid %d", who.UID), local: &who}
	if len(c.server.grants(caller)) == 0 {
		err := fmt.Errorf("%s may not use %s: it is for root, uid %d and the groups that graced.yaml gives a role", who, conn.LocalAddr(), c.server.owner)
		c.server.record.denied(audit.Entry{Actor: caller.Name, From: caller.From, Method: methodLocalConnect}, err)
		return nil, nil, err
	}
	counted, err := c.server.gate.enter(caller.key, conn)
	if err != nil {
		return nil, nil, err
	}
	pace := newFrames() // of root for each connection, so that a new one is never held up
	if !caller.almighty(c.server.owner) {
		pace = c.server.accounts.frames(caller.key)
	}
	return newPacedConn(counted, caller, pace, c.refusals), caller, nil
}

// ClientHandshake is never used.
func (c *peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("peer credentials are for servers")
}

// Info names the protocol.
func (c *peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix-peer"}
}

// Clone is another one of the same server.
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
