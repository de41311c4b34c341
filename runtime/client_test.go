package gracefleet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// crowd is a set of keep-alive clients that never repeat a request.
type crowd struct {
	answered, announced, idleClosed, lost atomic.Int64
	firstLoss                             atomic.Value
	clients                               sync.WaitGroup
	stop                                  chan struct{}
}

// newCrowd opens n connections and makes a first request on each; then every
// client thinks for up to think before each further one.
func newCrowd(t *testing.T, addr string, n int, think time.Duration) *crowd {
	t.Helper()
	c := &crowd{stop: make(chan struct{})}
	var warm sync.WaitGroup
	slots := make(chan struct{}, 64) // connects at a time: fewer than the backlog
	for range n {
		warm.Add(1)
		c.clients.Go(func() {
			slots <- struct{}{}
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				c.lose(err)
				<-slots
				warm.Done()
				return
			}
			defer conn.Close()
			br := bufio.NewReaderSize(conn, 512)
			more := c.exchange(conn, br)
			<-slots
			warm.Done()
			for more && c.think(think) {
				more = c.exchange(conn, br)
			}
		})
	}
	warm.Wait()
	return c
}

func (c *crowd) think(limit time.Duration) bool {
	timer := time.NewTimer(rand.N(limit))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.stop:
		return false
	}
}

// exchange makes one request and says whether the connection lives on.
func (c *crowd) exchange(conn net.Conn, br *bufio.Reader) bool {
	if closedByPeer(conn) {
		c.idleClosed.Add(1)
		return false
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: test\r\n\r\n"); err != nil {
		c.lose(err)
		return false
	}
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		c.lose(err)
		return false
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		c.lose(fmt.Errorf("status %d: %w", resp.StatusCode, err))
		return false
	}
	c.answered.Add(1)
	if resp.Close {
		c.announced.Add(1)
		return false
	}
	return true
}

func (c *crowd) lose(err error) {
	c.lost.Add(1)
	c.firstLoss.CompareAndSwap(nil, err.Error())
}

func (c *crowd) end() {
	close(c.stop)
	c.clients.Wait()
}

func (c *crowd) String() string {
	return fmt.Sprintf("%d answered, %d announced, %d closed while idle, %d lost (%v)",
		c.answered.Load(), c.announced.Load(), c.idleClosed.Load(), c.lost.Load(), c.firstLoss.Load())
}

// closedByPeer looks for a FIN without waiting.
func closedByPeer(c net.Conn) bool {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		closed = err == nil && n == 0 || err != nil && !errors.Is(err, unix.EAGAIN)
	})
	return closed
}
