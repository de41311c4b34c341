package authority

import (
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/gracefleet/gracefleet/internal/origin"
)

// Limits. Whoever can reach the port may knock; what follows is small and bounded.
const (
	maxConnections     = 256
	maxPerHost         = 16
	maxRequestBytes    = 16 << 10
	maxAnswerBytes     = 16 << 20 // a list of a hundred thousand revoked certificates has five million
	maxHeaderBytes     = 8 << 10
	maxStreams         = 4
	handshakeTimeout   = 5 * time.Second
	idleTimeout        = 30 * time.Second
	connectionAge      = time.Minute
	callTimeout        = 20 * time.Second
	stopTimeout        = 5 * time.Second
	maxCounted         = 4096
	refusalsPerMinute  = 10 // of one host, for whatever it asks
	renewalsPerHour    = 20 // of one agent, which needs one in weeks
	refusalsWindow     = time.Minute
	renewalsWindow     = time.Hour
	windowBytes        = 64 << 10
	keepaliveLeastTime = 10 * time.Second
)

func limits() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxSendMsgSize(maxAnswerBytes),
		grpc.InitialWindowSize(windowBytes),
		grpc.InitialConnWindowSize(windowBytes),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: idleTimeout, MaxConnectionAge: connectionAge, MaxConnectionAgeGrace: callTimeout,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveLeastTime, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	}
}

// quota counts what each of many does within a time that begins anew again and
// again. It is safe for concurrent use, and forgets who comes when too many came.
type quota struct {
	most   int
	window time.Duration
	now    func() time.Time

	mu    sync.Mutex
	since time.Time
	count map[string]int
}

func newQuota(most int, window time.Duration) *quota {
	return &quota{most: most, window: window, now: time.Now, count: map[string]int{}}
}

// spent says whether somebody has done as much as they may.
func (q *quota) spent(who string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.turn()
	return q.count[who] >= q.most
}

func (q *quota) add(who string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.turn()
	if _, known := q.count[who]; known || len(q.count) < maxCounted {
		q.count[who]++
	}
}

func (q *quota) turn() {
	if now := q.now(); now.Sub(q.since) >= q.window {
		q.since = now
		clear(q.count)
	}
}

// listener closes connections beyond its limits at once: nobody waits for those of
// others to end.
type listener struct {
	net.Listener
	mu   sync.Mutex
	open map[string]int
	all  int
}

func newListener(l net.Listener) *listener { return &listener{Listener: l, open: map[string]int{}} }

// Accept returns the next connection within the limits.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		who := origin.Of(c.RemoteAddr())
		if l.enter(who) {
			return &conn{Conn: c, leave: sync.OnceFunc(func() { l.leave(who) })}, nil
		}
		c.Close()
	}
}

func (l *listener) enter(who string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= maxConnections || l.open[who] >= maxPerHost {
		return false
	}
	l.all++
	l.open[who]++
	return true
}

func (l *listener) leave(who string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.open[who]--; l.open[who] == 0 {
		delete(l.open, who)
	}
}

// conn is a connection that leaves its listener's count when it is closed.
type conn struct {
	net.Conn
	leave func()
}

// Close closes the connection.
func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}
