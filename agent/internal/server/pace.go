package server

import (
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/time/rate"

	"github.com/gracefleet/gracefleet/internal/pause"
)

// pacedConn is read from no faster than its caller may send frames. A stream that
// is opened and reset at once costs its sender nothing (CVE-2023-44487), and no
// limit of gRPC counts it; so are floods of settings, priorities and the like. A
// caller in a hurry is not cut off: its bytes wait in the kernel, and so does it. One
// that goes on all the same, as nobody does who waits for answers, is.
type pacedConn struct {
	net.Conn
	caller Caller
	log    *quietLog
	pace   *rate.Limiter // of all connections of the caller
	frames frameCounter
	beyond time.Time // since when it has been further beyond the pace than pauses reach

	closed context.Context
	close  context.CancelFunc
}

// errFlood ends a connection.
var errFlood = errors.New("the caller sends frames without end")

func newPacedConn(c net.Conn, caller Caller, pace *rate.Limiter, log *quietLog) *pacedConn {
	p := &pacedConn{Conn: c, caller: caller, log: log, pace: pace, frames: frameCounter{skip: len(http2.ClientPreface)}}
	p.closed, p.close = context.WithCancel(context.Background())
	return p
}

// Read reads, and then waits for as long as what came is worth, but never so long
// that the peer would be taken for dead.
func (p *pacedConn) Read(b []byte) (int, error) {
	if p.pace.Tokens() < 1 {
		b = b[:min(len(b), hurriedRead)]
	}
	n, err := p.Conn.Read(b)
	now := time.Now()
	r := p.pace.ReserveN(now, min(p.frames.count(b[:n]), framesAtOnce))
	wait := r.DelayFrom(now)
	switch {
	case wait <= maxPause*3/4: // several connections share what is left
		p.beyond = time.Time{}
	case p.beyond.IsZero():
		p.beyond = now
	case now.Sub(p.beyond) > maxBeyond:
		p.log.warn("a connection is closed", "caller", p.caller.Name, "from", p.caller.From, "error", errFlood)
		return 0, errFlood
	}
	if wait > maxPause {
		r.CancelAt(now) // no debt that could not be paid soon
		wait = maxPause
	}
	if wait == 0 || err != nil {
		return n, err
	}
	_ = pause.For(p.closed, wait)
	return n, nil
}

func (p *pacedConn) Close() error {
	p.close()
	return p.Conn.Close()
}

// frameCounter finds the frames in a stream of bytes (RFC 9113, section 4.1).
type frameCounter struct {
	skip int // bytes until the next frame's header
	head [frameHeader]byte
	have int // bytes of head
}

const frameHeader = 9

// count is what the frames that begin in b are worth.
func (f *frameCounter) count(b []byte) (worth int) {
	for len(b) > 0 {
		if f.skip > 0 {
			n := min(f.skip, len(b))
			f.skip, b = f.skip-n, b[n:]
			continue
		}
		n := copy(f.head[f.have:], b)
		f.have, b = f.have+n, b[n:]
		if f.have == frameHeader {
			f.have, f.skip = 0, int(f.head[0])<<16|int(f.head[1])<<8|int(f.head[2])
			worth += worthOf(http2.FrameType(f.head[3]), f.skip)
		}
	}
	return worth
}

func worthOf(kind http2.FrameType, length int) int {
	switch {
	case kind == http2.FrameHeaders:
		return worthOfStream
	case kind == http2.FrameData && length >= freeData:
		return 0 // flow control bounds it
	}
	return 1
}
