package socket

import (
	"fmt"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
)

// Attach puts a steering program on the SO_REUSEPORT group that f is a member
// of, in place of the one it has, atomically for all members. It needs no
// privilege and about 10 microseconds. A multipath TCP socket, which is what a Go
// program opens (since Go 1.24), takes none (EOPNOTSUPP); other members do.
func Attach(f *os.File, prog []bpf.RawInstruction) error {
	if len(prog) == 0 {
		return fmt.Errorf("attach a steering program to %s: the program is empty", f.Name())
	}
	filter := make([]unix.SockFilter, len(prog))
	for i, in := range prog {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	fprog := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err := listen.Control(f, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, fprog)
	})
	if err != nil {
		return fmt.Errorf("attach a steering program to %s: %w (a socket needs SO_REUSEPORT and must listen)", f.Name(), err)
	}
	return nil
}
