package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/gracefleet/gracefleet/agent/internal/audit"
	"github.com/gracefleet/gracefleet/agent/internal/fetch"
	"github.com/gracefleet/gracefleet/internal/origin"
)

// Remote is where and how the agent is on the network.
type Remote struct {
	Listener net.Listener
	// Certificates of the agent, and whose it takes.
	Certificates Certificates
}

// remoteCredentials identify callers by their certificates.
type remoteCredentials struct {
	server       *Server
	certificates Certificates
	config       *tls.Config
	open         *openConnections
	refusals     *quietLog
	seeds        *seeds
}

func newRemoteCredentials(s *Server, c Certificates, d *seeds) *remoteCredentials {
	r := &remoteCredentials{server: s, certificates: c, config: c.Config(), open: &openConnections{all: map[*remoteConn]bool{}}, refusals: newQuietLog(s.log), seeds: d}
	current := r.config.GetConfigForClient
	// Who is nobody here is told so by TLS, before the connection stands.
	r.config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		config, err := current(hello)
		if err != nil {
			return nil, err
		}
		verify, known := config.VerifyConnection, r.known
		if artifactProtocol(hello.SupportedProtos) {
			config.NextProtos, known = hello.SupportedProtos, r.knownAgent
		}
		config.VerifyConnection = func(state tls.ConnectionState) error {
			if err := verify(state); err != nil {
				return err
			}
			return known(state)
		}
		return config, nil
	}
	return r
}

// known says whether a certificate is a client's.
func (c *remoteCredentials) known(state tls.ConnectionState) error {
	_, err := c.server.Policy().Identify(state.PeerCertificates[0])
	return err
}

// knownAgent says whether a certificate is an agent's.
func (c *remoteCredentials) knownAgent(state tls.ConnectionState) error {
	_, err := c.server.Policy().IdentifyAgent(state.PeerCertificates[0])
	return err
}

// ServerHandshake makes the TLS connection and finds out whose it is. An agent's that
// fetches an artifact is handed over, and no connection of gRPC.
func (c *remoteCredentials) ServerHandshake(raw net.Conn) (_ net.Conn, _ credentials.AuthInfo, err error) {
	defer func() {
		if err != nil && !errors.Is(err, credentials.ErrConnDispatched) {
			c.server.refused.Add(1)
		}
	}()
	// Counted from the first byte on: a handshake costs more than it looks.
	counted, err := c.server.handshakes.enter(origin.Of(raw.RemoteAddr()), raw)
	if err != nil {
		c.refusals.warn("a caller found no place for its handshake", "from", raw.RemoteAddr().String(), "error", err)
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	conn := tls.Server(raw, c.config)
	err = conn.HandshakeContext(ctx)
	if err != nil && ctx.Err() == nil {
		linger(raw)
	}
	counted.leave()
	if err != nil {
		c.server.record.denied(audit.Entry{From: "tls " + raw.RemoteAddr().String(), Method: methodHandshake, Detail: presented(conn)}, err)
		return nil, nil, err
	}
	if conn.ConnectionState().NegotiatedProtocol == fetch.Protocol {
		return nil, nil, c.handOver(conn)
	}
	caller, err := c.identify(conn)
	if err != nil {
		return nil, nil, err
	}
	entered, err := c.server.network.enter(caller.key, conn)
	if err != nil {
		return nil, nil, err
	}
	let := c.open.add(newPacedConn(entered, caller, c.server.accounts.frames(caller.key), c.refusals), conn)
	// What was trusted in the handshake may have been revoked before the connection
	// was among those that are looked at again.
	if err := c.trusts(conn); err != nil {
		return nil, nil, errors.Join(err, let.Close())
	}
	return let, caller, nil
}

// presented is what a caller who was turned away showed of itself, unproved.
func presented(conn *tls.Conn) map[string]string {
	state := conn.ConnectionState()
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	leaf := state.PeerCertificates[0]
	out := map[string]string{"subject": leaf.Subject.String(), "serial": leaf.SerialNumber.Text(16)}
	for i, u := range leaf.URIs {
		out[fmt.Sprintf("uri %d", i+1)] = u.String()
	}
	return out
}

// linger lets a client that was turned away read why: with bytes of it unread, a
// close would be a reset, which overtakes the alert.
func linger(raw net.Conn) {
	c, ok := raw.(*net.TCPConn)
	if !ok || c.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(lingerTimeout)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c, lingerBytes)
}

// handOver has a connection of an agent that fetches served.
func (c *remoteCredentials) handOver(conn *tls.Conn) error {
	agent, err := c.server.Policy().IdentifyAgent(conn.ConnectionState().PeerCertificates[0])
	if err != nil {
		return err
	}
	entered, err := c.server.agents.enter(agent.String(), conn)
	if err != nil {
		return err
	}
	let := c.open.add(entered, conn)
	if err := c.trusts(conn); err != nil { // as in ServerHandshake
		return errors.Join(err, let.Close())
	}
	c.seeds.take(let, agent)
	return credentials.ErrConnDispatched
}

// trusts says whether a connection's certificate counts now, for what is spoken on it.
func (c *remoteCredentials) trusts(conn *tls.Conn) error {
	state, known := conn.ConnectionState(), c.known
	if state.NegotiatedProtocol == fetch.Protocol {
		known = c.knownAgent
	}
	if err := known(state); err != nil {
		return err
	}
	return c.certificates.Verify(state.PeerCertificates)
}

func (c *remoteCredentials) identify(conn *tls.Conn) (Caller, error) {
	leaf := conn.ConnectionState().PeerCertificates[0]
	id, err := c.server.Policy().Identify(leaf)
	if err != nil {
		return Caller{}, err
	}
	return Caller{Name: id.Name, From: "tls " + conn.RemoteAddr().String(), key: id.Name, cert: leaf}, nil
}

// ClientHandshake is never used.
func (c *remoteCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("an agent's credentials are for servers")
}

// Info names the protocol.
func (c *remoteCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone is another one of the same server.
func (c *remoteCredentials) Clone() credentials.TransportCredentials {
	copied := *c
	return &copied
}

// OverrideServerName is for clients.
func (c *remoteCredentials) OverrideServerName(string) error { return nil }

// openConnections are those that were let in, and stand. It is safe for concurrent
// use.
type openConnections struct {
	mu  sync.Mutex
	all map[*remoteConn]bool
}

type remoteConn struct {
	net.Conn
	tls  *tls.Conn
	list *openConnections
}

func (o *openConnections) add(counted net.Conn, t *tls.Conn) *remoteConn {
	c := &remoteConn{Conn: counted, tls: t, list: o}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all[c] = true
	return c
}

func (c *remoteConn) Close() error {
	c.list.mu.Lock()
	delete(c.list.all, c)
	c.list.mu.Unlock()
	return c.Conn.Close()
}

// closeUntrusted ends the connections whose certificates no longer count.
func (c *remoteCredentials) closeUntrusted() {
	c.open.mu.Lock()
	var end []*remoteConn
	for conn := range c.open.all {
		if err := c.trusts(conn.tls); err != nil {
			c.server.log.Warn("a connection is ended", "from", conn.RemoteAddr().String(), "error", err)
			end = append(end, conn)
		}
	}
	c.open.mu.Unlock()
	for _, conn := range end {
		conn.Close()
	}
}
