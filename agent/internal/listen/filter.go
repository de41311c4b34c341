package listen

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ProbeSource is the loopback address private probes come from.
var ProbeSource = [4]byte{127, 71, 0, 7}

// skfNetOff makes a load relative to the network header, whatever the socket's
// protocol has pulled already (linux/filter.h SKF_NET_OFF).
const skfNetOff = 0xfff00000

// guard attaches a classic filter that keeps IPv4 packets of the probe source
// and drops the rest. A pure IPv6 socket so guarded hears nobody.
func guard(fd int) error {
	source := uint32(ProbeSource[0])<<24 | uint32(ProbeSource[1])<<16 | uint32(ProbeSource[2])<<8 | uint32(ProbeSource[3])
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: skfNetOff},
		{Code: unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K, K: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 4, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: skfNetOff + 12},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: source, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// Unguard lets everybody in. A socket without a guard is left as it is, as is one
// that cannot have any (multipath TCP).
func Unguard(f *os.File) error {
	err := Control(f, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return os.NewSyscallError("detach the filter of "+f.Name(), err)
}
