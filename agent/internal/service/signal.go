package service

import (
	"fmt"
	"strings"
	"syscall"
)

// drainSignals are those a program may be told to end with. SIGKILL is not one:
// it cuts every connection, and is sent anyway at the end of drain.timeout.
var drainSignals = map[string]syscall.Signal{
	"SIGHUP":   syscall.SIGHUP,
	"SIGINT":   syscall.SIGINT,
	"SIGQUIT":  syscall.SIGQUIT,
	"SIGALRM":  syscall.SIGALRM,
	"SIGTERM":  syscall.SIGTERM,
	"SIGUSR1":  syscall.SIGUSR1,
	"SIGUSR2":  syscall.SIGUSR2,
	"SIGWINCH": syscall.SIGWINCH,
}

// ParseSignal reads a drain signal's name, such as "SIGTERM" or "TERM".
func ParseSignal(name string) (int, error) {
	full := name
	if !strings.HasPrefix(full, "SIG") {
		full = "SIG" + full
	}
	n, ok := drainSignals[full]
	if !ok {
		return 0, fmt.Errorf("%q is not a signal that ends a program gracefully: use SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGALRM, SIGUSR1, SIGUSR2 or SIGWINCH", name)
	}
	return int(n), nil
}

// SignalName is the name ParseSignal reads, and empty for other numbers.
func SignalName(number int) string {
	for name, n := range drainSignals {
		if int(n) == number {
			return name
		}
	}
	return ""
}
