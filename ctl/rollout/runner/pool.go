package runner

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// pool has at most one connection to each host, and keeps a bounded number that nobody
// uses.
type pool struct {
	dial  func(ctx context.Context, host string) (*grpc.ClientConn, error)
	keep  int
	dials chan struct{} // room for connections that are being made

	mu     sync.Mutex
	conns  map[string]*conn
	closed bool
	idle   []*conn // the one that was used last at the end
}

type conn struct {
	*grpc.ClientConn
	host  string
	users int
}

// broken is an error when the connection could not be made.
func (c *conn) broken() error {
	if c.GetState() == connectivity.TransientFailure {
		return status.Error(codes.Unavailable, "the connection failed")
	}
	return nil
}

func newPool(dial func(context.Context, string) (*grpc.ClientConn, error), atOnce int) *pool {
	// Hosts that are claimed can take half of the room: they may be out of reach, and
	// those that move may not wait for them.
	return &pool{dial: dial, keep: 4 * atOnce, dials: make(chan struct{}, 2*atOnce), conns: make(map[string]*conn)}
}

// get returns the connection to a host, once that is made or has failed: then the first
// call on it says why. It must be given back with put.
func (p *pool) get(ctx context.Context, host string) (*conn, error) {
	c, err := p.take(ctx, host)
	if err != nil {
		return nil, err
	}
	if err := p.connect(ctx, c); err != nil {
		p.put(c, true)
		return nil, err
	}
	return c, nil
}

func (p *pool) take(ctx context.Context, host string) (*conn, error) {
	p.mu.Lock()
	c := p.use(host)
	p.mu.Unlock()
	if c != nil {
		return c, nil
	}
	cc, err := p.dial(ctx, host)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.use(host); c != nil { // somebody was faster
		cc.Close()
		return c, nil
	}
	if p.closed {
		cc.Close()
		return nil, status.Error(codes.Canceled, "the rollout is not driven any more")
	}
	c = &conn{ClientConn: cc, host: host, users: 1}
	p.conns[host] = c
	return c, nil
}

// use is one more user of a connection, nil when there is none. The caller holds mu.
func (p *pool) use(host string) *conn {
	c := p.conns[host]
	if c == nil {
		return nil
	}
	if c.users++; c.users == 1 {
		p.idle = slices.DeleteFunc(p.idle, func(other *conn) bool { return other == c })
	}
	return c
}

// connect waits until the connection is made or has failed.
func (p *pool) connect(ctx context.Context, c *conn) error {
	state := c.GetState()
	if state == connectivity.Ready || state == connectivity.TransientFailure {
		return nil
	}
	select {
	case p.dials <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.dials }()
	for state := c.GetState(); state == connectivity.Idle || state == connectivity.Connecting; state = c.GetState() {
		c.Connect()
		if !c.WaitForStateChange(ctx, state) {
			return ctx.Err()
		}
	}
	return nil
}

// put gives a connection back. One that failed is made anew next time, when nobody else
// uses it: certificates may have changed.
//
// Where there are too many, neither the latest ones go, which may be asked again at once,
// nor those that waited longest: hosts are claimed, upgraded and given up in the same
// order, so that theirs are the next to be needed.
func (p *pool) put(c *conn, failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.users--; c.users > 0 {
		return
	}
	if failed || c.GetState() != connectivity.Ready {
		p.drop(c)
		return
	}
	p.idle = append(p.idle, c)
	if len(p.idle) > p.keep {
		i := p.keep - p.keep/4
		one := p.idle[i]
		p.idle = slices.Delete(p.idle, i, i+1)
		p.drop(one)
	}
}

func (p *pool) drop(c *conn) {
	c.Close()
	delete(p.conns, c.host)
}

// close ends all connections. Nobody may use one any more.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		p.drop(c)
	}
	p.idle, p.closed = nil, true
}
