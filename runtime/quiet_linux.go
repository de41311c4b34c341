package gracefleet

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// sinceReceived is how long ago the last bytes of a TCP connection arrived
// (tcpi_last_data_recv, in milliseconds); forever where it cannot be known.
func sinceReceived(fd uintptr) time.Duration {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return math.MaxInt64
	}
	return time.Duration(info.Last_data_recv) * time.Millisecond
}

// readShut says whether the reading side was shut.
func readShut(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLRDHUP != 0
}
