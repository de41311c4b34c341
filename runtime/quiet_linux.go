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
