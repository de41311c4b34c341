package gracefleet

import (
	"crypto/tls"
	"net"
	"syscall"
	"time"
)

const (
	// quietFor is how long nothing may have arrived on a connection that is
	// ended as idle: net/http calls it idle until a whole request header is read.
	quietFor = 100 * time.Millisecond
	// How often the connections of a draining server are looked at.
	minScan, maxScan = 25 * time.Millisecond, 250 * time.Millisecond
)

// waitGone returns once no HTTP/1 connection is left, and for HTTP/2 once the
// lame-duck time has passed: Shutdown ends those with GOAWAY.
func (h *httpServer) waitGone() bool {
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	if len(h.foreign) > 0 {
		timer.Reset(h.svc.opts.LameDuck)
		select {
		case <-timer.C:
		case <-h.svc.ctx.Done():
			return false
		}
		for _, ln := range h.foreign {
			ln.Close()
		}
	}
	for {
		now := time.Now()
		h1, h2, next := h.endIdle(start, now)
		if h1 == 0 && (h2 == 0 || now.Sub(start) >= h.svc.opts.LameDuck) {
			return true
		}
		timer.Reset(min(max(next.Sub(now), minScan), maxScan))
		select {
		case <-timer.C:
		case <-h.gone:
		case <-h.svc.ctx.Done():
			return false
		}
	}
}

// endIdle ends the connections that were idle for LameDuck since the start of
// the drain. It counts those left, by protocol, and says when the next is due.
func (h *httpServer) endIdle(start, now time.Time) (h1, h2 int, next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next = now.Add(maxScan)
	for c, hc := range h.conns {
		if hc.h2 {
			h2++
			continue
		}
		h1++
		if hc.ended || hc.kind != kindIdle {
			continue
		}
		since := hc.since
		if since.Before(start) {
			since = start
		}
		due := since.Add(h.svc.opts.LameDuck)
		switch {
		case due.After(now):
			if due.Before(next) {
				next = due
			}
		case quiet(c):
			hc.ended = true
			endRead(c)
		}
	}
	return h1, h2, next
}

// endRead makes the server see the end of the connection's input, after what
// the kernel holds already: on Linux SHUT_RD sends nothing, and data in the
// queue is still read (tcp_recvmsg).
func endRead(c net.Conn) {
	c = plain(c)
	if r, ok := c.(interface{ CloseRead() error }); ok {
		r.CloseRead()
		return
	}
	c.SetReadDeadline(time.Now())
}

// plain is the connection beneath TLS.
func plain(c net.Conn) net.Conn {
	if t, ok := c.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c
}

// quiet says whether nothing has arrived lately, and nothing waits to be read.
func quiet(c net.Conn) bool {
	sc, ok := plain(c).(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	is := true
	_ = raw.Control(func(fd uintptr) {
		if n, err := pollIn(fd); err == nil && n > 0 {
			is = false
			return
		}
		is = sinceReceived(fd) >= quietFor
	})
	return is
}
