package server

import (
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/gracefleet/gracefleet/api"
)

// Limits of one server. gRPC's own defaults are made for trusted callers: 2^32
// streams on a connection, headers of 16 MiB, a handshake of two minutes.
const (
	maxStreams      = 64
	maxHeaderBytes  = 16 << 10
	maxRequestBytes = 1 << 20
	// The windows bound what a client may have under way. 64 KiB that gRPC widens
	// by its own estimate takes an upload half as fast.
	streamWindow          = 1 << 20
	connectionWindow      = 2 << 20
	maxConnections        = 512
	maxConnectionsPerUser = 256
	handshakeTimeout      = 5 * time.Second
	// Over the network, apart from the local socket, which is never locked out.
	lingerTimeout          = time.Second // after a handshake that failed
	lingerBytes            = 64 << 10
	maxRemoteConnections   = 512
	maxConnectionsPerCert  = 32
	maxHandshakes          = 64
	maxHandshakesPerSource = 16
	maxRemoteConnectionAge = time.Hour // then the certificate is looked at anew
	// Of one caller, over all connections. The pace leaves thousands of calls a
	// second; streams that are opened and reset cost the agent about as much as 8
	// other frames.
	changesPerSecond = 10
	changesAtOnce    = 20
	framesPerSecond  = 8000
	framesAtOnce     = 16000
	worthOfStream    = 8
	freeData         = 1 << 10
	hurriedRead      = 1 << 10 // at a time, of somebody beyond the pace
	maxPause         = time.Second
	maxBeyond        = 10 * time.Second
	maxAccounts      = 1024
	// Uploads under way.
	maxUploads          = 8
	maxUploadsPerCaller = 2
	uploadRetry         = time.Second
	// Other agents that fetch from this one.
	maxTickets             = 1024
	ticketLife             = 15 * time.Minute // and that of a connection
	ticketRetry            = time.Minute
	maxSeeded              = 4 // artifacts on their way
	maxAgentConnections    = 16
	maxConnectionsPerAgent = 4
	maxSeedHeader          = 4 << 10
	seedPatience           = 30 * time.Second // with one that takes nothing
	// Readers of the audit record: each has all of its files open.
	maxAuditReaders          = 32
	maxAuditReadersPerCaller = 8
	// Lines in the log on callers that were turned away, those of the network apart from
	// those of the local socket, which it must not silence.
	refusalLinesPerSecond = 1
	refusalLinesAtOnce    = 20
	// stopTimeout is how long calls under way may go on once the agent stops.
	stopTimeout = 5 * time.Second
)

func limits(k keepalive.ServerParameters) []grpc.ServerOption {
	// A peer that stopped reading is let go of after 40 s.
	k.Time, k.Timeout = 30*time.Second, 10*time.Second
	return []grpc.ServerOption{
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connectionWindow),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxSendMsgSize(api.MaxAnswer),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(k),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		// The store is closed after the server: no handler may outlive it.
		grpc.WaitForHandlers(true),
	}
}

// gate counts open connections, or whatever else is taken and left. It is safe for
// concurrent use.
type gate struct {
	total, perUser int

	mu    sync.Mutex
	open  int
	users map[string]int
}

func newGate(total, perUser int) *gate {
	return &gate{total: total, perUser: perUser, users: map[string]int{}}
}

// enter counts one connection of a caller, until it is closed.
func (g *gate) enter(key string, c net.Conn) (*countedConn, error) {
	leave, err := g.take(key, "open connections")
	if err != nil {
		return nil, err
	}
	return &countedConn{Conn: c, leave: leave}, nil
}

// take counts one of something until it is left.
func (g *gate) take(key, what string) (leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open >= g.total || g.users[key] >= g.perUser {
		return nil, fmt.Errorf("%s has %d of %d %s, limits are %d and %d", key, g.users[key], g.open, what, g.perUser, g.total)
	}
	g.open++
	g.users[key]++
	return sync.OnceFunc(func() { g.leave(key) }), nil
}

func (g *gate) leave(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if g.users[key]--; g.users[key] == 0 {
		delete(g.users, key)
	}
}

// countedConn is a connection that leaves its gate when it is closed.
type countedConn struct {
	net.Conn
	leave func()
}

func (c *countedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
