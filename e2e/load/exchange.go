package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// client is one connection.
type client struct {
	net.Conn
	in        *bufio.Reader
	connected time.Time
	received  int   // bytes since the request
	end       error // what ended the reading
}

func (l *Load) dial(deadline time.Time) (*client, error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	conn, err := l.dialer.DialContext(ctx, l.network, l.address)
	if err != nil {
		return nil, err
	}
	c := &client{Conn: conn, connected: time.Now()}
	c.in = bufio.NewReaderSize(counter{c}, 1024)
	return c, nil
}

// counter notices whether anything of an answer has arrived, and how it ended.
type counter struct{ c *client }

func (r counter) Read(b []byte) (int, error) {
	n, err := r.c.Conn.Read(b)
	r.c.received += n
	if err != nil {
		r.c.end = err
	}
	return n, err
}

// maxBody is how much of an answer is looked at for the generation.
const maxBody = 4096

// exchange sends one request and reads its answer. closing says that the server
// announced the end of the connection.
func (c *client) exchange(request []byte, deadline time.Time) (generation string, closing bool, err error) {
	c.received = 0
	c.SetDeadline(deadline)
	if _, err := c.Write(request); err != nil {
		return "", true, err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		if c.end != nil {
			err = c.end // a header cut in two looks malformed
		}
		return "", true, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	if err != nil {
		return "", true, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return "", resp.Close, fmt.Errorf("%w: %s", errStatus, resp.Status)
	}
	return generationOf(resp.Header, string(body)), resp.Close, nil
}

// generationOf reads "X-Generation: 7", or "gen=7" in the body.
func generationOf(h http.Header, body string) string {
	if g := h.Get("X-Generation"); g != "" {
		return g
	}
	_, rest, ok := strings.Cut(body, "gen=")
	if !ok {
		return ""
	}
	if end := strings.IndexAny(rest, " \r\n;,&\"<"); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

func (l *Load) request(closing bool) []byte {
	s := "GET " + l.cfg.Path + " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: gracefleet-load\r\n"
	if closing {
		s += "Connection: close\r\n"
	}
	return []byte(s + "\r\n")
}

// closedByServer looks, without waiting, for the end of an idle connection.
func (c *client) closedByServer() bool {
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		closed = err == nil && n == 0 || err != nil && !errors.Is(err, unix.EAGAIN)
	})
	return closed || err != nil
}
