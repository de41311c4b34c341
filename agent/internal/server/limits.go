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
	// stopTimeout is how long calls under way may go on once the agent stops.
	stopTimeout = 5 * time.Second
)

func limits() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connectionWindow),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxSendMsgSize(api.MaxAnswer),
		grpc.ConnectionTimeout(handshakeTimeout),
		// A peer that stopped reading is let go of after 40 s.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		// The store is closed after the server: no handler may outlive it.
		grpc.WaitForHandlers(true),
	}
}

// gate counts open connections. It is safe for concurrent use.
type gate struct {
	total, perUser int

	mu    sync.Mutex
	open  int
	users map[uint32]int
}

func newGate(total, perUser int) *gate {
	return &gate{total: total, perUser: perUser, users: map[uint32]int{}}
}

// enter counts one connection of a user, until it is closed.
func (g *gate) enter(uid uint32, c net.Conn) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open >= g.total || g.users[uid] >= g.perUser {
		return nil, fmt.Errorf("uid %d has %d of %d open connections, limits are %d and %d", uid, g.users[uid], g.open, g.perUser, g.total)
	}
	g.open++
	g.users[uid]++
	return &countedConn{Conn: c, leave: sync.OnceFunc(func() { g.leave(uid) })}, nil
}

func (g *gate) leave(uid uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if g.users[uid]--; g.users[uid] == 0 {
		delete(g.users, uid)
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
