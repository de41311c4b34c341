package shim

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// defaultAction sets a signal to SIG_DFL behind the runtime's back, which is
// right only just before an execve. All zero is SIG_DFL in every platform's
// struct sigaction; the set in it has 64 bits (16 bytes on mips).
func defaultAction(sig int) {
	var action [64]byte
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
}
