package socket

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
)

// tcpFlags is where a TCP header has its flags: a filter on a TCP socket sees
// packets from there on.
const (
	tcpFlags = 13
	flagSYN  = 0x02
)

// DropNew makes the kernel drop every connection attempt at a listening TCP
// socket: handshakes under way end, what is queued can be accepted, nobody new
// gets in. listen.Unguard undoes it.
func DropNew(f *os.File) error {
	drop := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: tcpFlags},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: flagSYN, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	err := listen.Control(f, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(drop)), Filter: &drop[0]})
	})
	return os.NewSyscallError("hold off new connections on "+f.Name(), err)
}

// Shutdown ends listening: the socket leaves its group, what is queued is reset,
// and new connections are refused until listen.Listen. A socket that does not
// listen is left as it is.
func Shutdown(f *os.File) error {
	err := listen.Control(f, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RD) })
	if errors.Is(err, unix.ENOTCONN) {
		return nil
	}
	return os.NewSyscallError("end listening on "+f.Name(), err)
}
