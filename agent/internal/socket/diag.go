package socket

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// TCP states (net/tcp_states.h).
const (
	tcpEstablished = 1
	tcpSynRecv     = 3
	tcpFinWait1    = 4
	tcpFinWait2    = 5
	tcpTimeWait    = 6
	tcpClose       = 7
	tcpCloseWait   = 8
	tcpLastAck     = 9
	tcpListen      = 10
	tcpClosing     = 11
	tcpNewSynRecv  = 12
)

// Sets of states for requests.
const (
	allStates     = 0xffffffff
	listenStates  = 1 << tcpListen
	requestStates = 1<<tcpSynRecv | 1<<tcpNewSynRecv
	fullStates    = 1<<tcpEstablished | 1<<tcpFinWait1 | 1<<tcpFinWait2 | 1<<tcpCloseWait | 1<<tcpLastAck | 1<<tcpClosing
)

// Numbers of linux/inet_diag.h that x/sys lacks.
const (
	diagReqBytecode  = 1
	diagInfo         = 2
	diagV6Only       = 11
	diagCgroup       = 21
	bytecodeCgroup   = 13
	inetRequestBytes = 56
	inetMessageBytes = 72
	// tcpInfoBytes reaches up to tcpi_last_ack_recv.
	tcpInfoBytes = 60
)

// inetRequest selects tcp or udp sockets; zero fields select all.
type inetRequest struct {
	family uint8
	proto  uint8
	states uint32
	port   uint16 // local
	cgroup uint64 // inode of the cgroup directory, matched exactly
	info   bool   // also report tcp_info
}

// inetSock is a struct inet_diag_msg with the attributes asked for. It is valid
// only during the callback that gets it.
type inetSock struct {
	family, state  uint8
	local, remote  netip.AddrPort
	iface          uint32
	cookie         uint64
	rqueue, wqueue uint32
	uid            uint32
	inode          uint64
	v6only         bool
	cgroup         uint64 // in which it was created; 0 if the kernel does not tell
	backoff        uint8  // how often a retransmission or window probe timer doubled
	lastSent       uint32 // ms ago
	lastReceived   uint32 // ms ago
}

// inetDump lists sockets of the network namespace; no privilege is needed.
func inetDump(r inetRequest, visit func(*inetSock)) error {
	return diagDump(r.encode(), func(b []byte) error {
		s, err := decodeInet(b)
		if err != nil {
			return err
		}
		// The kernel ignores a port of 0 and lists all.
		if r.port == 0 || s.local.Port() == r.port {
			visit(&s)
		}
		return nil
	})
}

// diagDump sends one dump request and streams the answers.
func diagDump(request []byte, visit func([]byte) error) error {
	c, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return fmt.Errorf("open sock_diag: %w", err)
	}
	defer c.Close()
	m := netlink.Message{
		Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request | netlink.Dump},
		Data:   request,
	}
	if _, err := c.Send(m); err != nil {
		return fmt.Errorf("ask sock_diag: %w", err)
	}
	for m, err := range c.ReceiveIter() {
		if err != nil {
			return fmt.Errorf("sock_diag: %w", err)
		}
		if err := visit(m.Data); err != nil {
			return err
		}
	}
	return nil
}

// diagGet asks for one socket.
func diagGet(request []byte) ([]byte, error) {
	c, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	defer c.Close()
	m := netlink.Message{
		Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request},
		Data:   request,
	}
	answers, err := c.Execute(m)
	if err != nil {
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	if len(answers) != 1 {
		return nil, fmt.Errorf("sock_diag gave %d answers for one socket", len(answers))
	}
	return answers[0].Data, nil
}

// encode builds a struct inet_diag_req_v2.
func (r inetRequest) encode() []byte {
	b := make([]byte, inetRequestBytes, inetRequestBytes+16)
	b[0], b[1] = r.family, r.proto
	if r.info {
		b[2] = 1 << (diagInfo - 1)
	}
	binary.NativeEndian.PutUint32(b[4:], r.states)
	binary.BigEndian.PutUint16(b[8:], r.port)
	if r.cgroup == 0 {
		return b
	}
	// One attribute with one operation: {code, yes, no} and the id. "yes" jumps
	// to the end (match), "no" beyond it (no match).
	const op, id = 4, 8
	b = binary.NativeEndian.AppendUint16(b, 4+op+id)
	b = binary.NativeEndian.AppendUint16(b, diagReqBytecode)
	b = append(b, bytecodeCgroup, op+id)
	b = binary.NativeEndian.AppendUint16(b, op+id+4)
	return binary.NativeEndian.AppendUint64(b, r.cgroup)
}

// oneConnection builds the request for the tcp socket with these two ends.
func oneConnection(local, remote netip.AddrPort) []byte {
	b := make([]byte, inetRequestBytes)
	b[0], b[1] = unix.AF_INET, unix.IPPROTO_TCP
	if local.Addr().Is6() {
		b[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(b[4:], allStates)
	binary.BigEndian.PutUint16(b[8:], local.Port())
	binary.BigEndian.PutUint16(b[10:], remote.Port())
	copy(b[12:28], local.Addr().AsSlice())
	copy(b[28:44], remote.Addr().AsSlice())
	for i := 48; i < 56; i++ {
		b[i] = 0xff // INET_DIAG_NOCOOKIE
	}
	return b
}

func decodeInet(b []byte) (inetSock, error) {
	if len(b) < inetMessageBytes {
		return inetSock{}, fmt.Errorf("sock_diag: answer of %d bytes is too short", len(b))
	}
	word := binary.NativeEndian.Uint32
	s := inetSock{
		family: b[0], state: b[1],
		local:  addrPort(b[0], b[8:24], b[4:6]),
		remote: addrPort(b[0], b[24:40], b[6:8]),
		iface:  word(b[40:]),
		cookie: uint64(word(b[44:])) | uint64(word(b[48:]))<<32,
		rqueue: word(b[56:]), wqueue: word(b[60:]),
		uid: word(b[64:]), inode: uint64(word(b[68:])),
	}
	for kind, v := range attributes(b[inetMessageBytes:]) {
		switch {
		case kind == diagV6Only && len(v) > 0:
			s.v6only = v[0] == 1
		case kind == diagCgroup && len(v) >= 8:
			s.cgroup = binary.NativeEndian.Uint64(v)
		case kind == diagInfo && len(v) >= tcpInfoBytes:
			s.backoff = v[4]
			s.lastSent, s.lastReceived = word(v[44:]), word(v[52:])
		}
	}
	return s, nil
}

func addrPort(family uint8, ip, port []byte) netip.AddrPort {
	p := binary.BigEndian.Uint16(port)
	if family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[:4])), p)
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip)), p)
}

// attributes iterates over netlink attributes without copying them.
func attributes(b []byte) func(yield func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			n := int(binary.NativeEndian.Uint16(b))
			if n < 4 || n > len(b) || !yield(binary.NativeEndian.Uint16(b[2:]), b[4:n]) {
				return
			}
			b = b[min((n+3)&^3, len(b)):]
		}
	}
}
