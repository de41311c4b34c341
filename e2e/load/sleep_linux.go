package load

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleep waits in the kernel: the Go scheduler's timers are late by up to a
// millisecond on an otherwise idle program (epoll waits in milliseconds). It may
// return early.
func sleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil)
}
