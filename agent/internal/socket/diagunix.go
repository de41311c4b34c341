package socket

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
)

// Numbers of linux/unix_diag.h.
const (
	unixShowName     = 1
	unixShowRQlen    = 0x10
	unixShowUID      = 0x40
	unixName         = 0
	unixRQlen        = 4
	unixUID          = 7
	unixRequestBytes = 24
	unixMessageBytes = 16
)

// unixSock is a struct unix_diag_msg with its attributes.
type unixSock struct {
	state          uint8
	inode          uint64
	cookie         uint64
	path           string // of the listener that it was accepted from, or its own
	rqueue, wqueue uint32 // of a listener: queued connections and backlog
	uid            uint32
}

func unixRequest(states, inode uint32, cookie uint64) []byte {
	b := make([]byte, unixRequestBytes)
	b[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(b[4:], states)
	binary.NativeEndian.PutUint32(b[8:], inode)
	binary.NativeEndian.PutUint32(b[12:], unixShowName|unixShowRQlen|unixShowUID)
	binary.NativeEndian.PutUint32(b[16:], uint32(cookie))
	binary.NativeEndian.PutUint32(b[20:], uint32(cookie>>32))
	return b
}

// unixDump lists the unix sockets of the network namespace.
func unixDump(states uint32, visit func(*unixSock)) error {
	return diagDump(unixRequest(states, 0, ^uint64(0)), func(b []byte) error {
		s, err := decodeUnix(b)
		if err == nil {
			visit(&s)
		}
		return err
	})
}

// unixQueue asks for one listener: its rqueue is the number of connections that
// wait, its wqueue the backlog (sk_diag_show_rqlen in net/unix/diag.c).
func unixQueue(f *os.File) (queued, limit int, err error) {
	cookie, err := listen.Cookie(f)
	if err != nil {
		return 0, 0, err
	}
	ino, err := Inode(f)
	if err != nil {
		return 0, 0, err
	}
	b, err := diagGet(unixRequest(allStates, uint32(ino), cookie))
	if err != nil {
		return 0, 0, err
	}
	s, err := decodeUnix(b)
	if err != nil || s.state != tcpListen {
		return 0, 0, err
	}
	return int(s.rqueue), int(s.wqueue), nil
}

func decodeUnix(b []byte) (unixSock, error) {
	if len(b) < unixMessageBytes {
		return unixSock{}, fmt.Errorf("sock_diag: unix answer of %d bytes is too short", len(b))
	}
	word := binary.NativeEndian.Uint32
	s := unixSock{
		state: b[2], inode: uint64(word(b[4:])),
		cookie: uint64(word(b[8:])) | uint64(word(b[12:]))<<32,
	}
	for kind, v := range attributes(b[unixMessageBytes:]) {
		switch {
		case kind == unixName:
			s.path = strings.TrimRight(string(v), "\x00")
		case kind == unixRQlen && len(v) >= 8:
			s.rqueue, s.wqueue = word(v), word(v[4:])
		case kind == unixUID && len(v) >= 4:
			s.uid = word(v)
		}
	}
	return s, nil
}
