//go:build linux

package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports are taken from below the kernel's ephemeral range: no client's
// connection can be in the way.
const firstPort, ports = 20000, 12000

var given = struct {
	sync.Mutex
	to map[int]testing.TB
}{to: map[int]testing.TB{}}

// FreePort returns a port that nobody uses, over TCP or UDP, and that no other
// test of this process was given. When the test's agent ends, nobody may listen
// on it any more.
func FreePort(t testing.TB) int {
	t.Helper()
	given.Lock()
	defer given.Unlock()
	for range 100 {
		port := firstPort + rand.IntN(ports) //nolint:gosec // a port is no secret
		if given.to[port] == nil && free(port) {
			given.to[port] = t
			return port
		}
	}
	t.Fatal("no free port found")
	return 0
}

func free(port int) bool {
	for _, host := range []string{"0.0.0.0", "[::]"} {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, port))
		if err != nil {
			return false
		}
		l.Close()
		p, err := net.ListenPacket("udp", fmt.Sprintf("%s:%d", host, port))
		if err != nil {
			return false
		}
		p.Close()
	}
	return true
}

func portsOf(t testing.TB) map[int]bool {
	given.Lock()
	defer given.Unlock()
	mine := map[int]bool{}
	for port, to := range given.to {
		if to == t {
			mine[port] = true
		}
	}
	return mine
}
