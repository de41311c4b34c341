package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/audit"
	"github.com/gracefleet/gracefleet/agent/internal/fetch"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/identity"
)

// seeds serves artifacts to other agents, on connections over the network that speak
// fetch.Protocol and nothing else: gRPC never sees those, and they never see it. Each
// has one request.
type seeds struct {
	server *Server
	http   *http.Server
	queue  *handedOver
	places *gate        // of artifacts on their way
	alive  sync.RWMutex // held by those who serve one, and for ever after the end
}

func newSeeds(s *Server, address net.Addr) *seeds {
	d := &seeds{
		server: s, places: newGate(maxSeeded, maxSeeded),
		queue: &handedOver{address: address, conns: make(chan net.Conn), closed: make(chan struct{})},
	}
	d.http = &http.Server{
		Handler: d, ReadHeaderTimeout: handshakeTimeout, MaxHeaderBytes: maxSeedHeader,
		ErrorLog: s.log.StandardLogger(nil),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, agentKey{}, c.(*seedConn).agent)
		},
	}
	d.http.SetKeepAlivesEnabled(false)
	return d
}

// serve ends with close.
func (d *seeds) serve() { _ = d.http.Serve(d.queue) }

// close returns once nobody is served any more.
func (d *seeds) close() {
	d.http.Close()
	d.alive.Lock()
}

// take serves one connection of an agent.
func (d *seeds) take(c net.Conn, agent identity.ID) {
	s := &seedConn{Conn: c, agent: agent}
	s.end = time.AfterFunc(ticketLife, func() { c.Close() })
	select {
	case d.queue.conns <- s:
	case <-d.queue.closed:
		s.Close()
	}
}

// ServeHTTP answers GET /HEX, the digest's digits, with a ticket as bearer.
func (d *seeds) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	if !d.alive.TryRLock() {
		return
	}
	defer d.alive.RUnlock()
	agent := in.Context().Value(agentKey{}).(identity.ID)
	digest := "sha256:" + strings.TrimPrefix(in.URL.Path, "/")
	secret, bearer := strings.CutPrefix(in.Header.Get("Authorization"), "Bearer ")
	switch {
	case in.Method != http.MethodGet || service.CheckDigest(digest) != nil:
		http.Error(out, "it is GET /HEX", http.StatusBadRequest)
		return
	case !bearer || !d.server.tickets.lets(secret, digest, agent):
		d.server.record.denied(d.entry(in, agent, digest), errNoTicket)
		http.Error(out, errNoTicket.Error(), http.StatusForbidden)
		return
	}
	leave, err := d.places.take(agent.String(), "artifacts on their way to agents")
	if err != nil {
		http.Error(out, "too many at once", http.StatusServiceUnavailable)
		return
	}
	defer leave()
	f, err := d.server.store.OpenArtifact(digest)
	if err != nil {
		d.server.log.Warn("an artifact cannot be served to an agent", "agent", agent, "digest", digest, "error", err)
		http.Error(out, "not held", http.StatusNotFound)
		return
	}
	defer f.Close()
	d.server.log.Info("an artifact is served to an agent", "agent", agent, "from", in.RemoteAddr, "digest", digest, "range", clean(in.Header.Get("Range"), maxRecorded))
	out.Header().Set("Content-Type", "application/octet-stream")
	out.Header().Set("ETag", `"`+digest+`"`)
	http.ServeContent(&patient{out, http.NewResponseController(out)}, in, "", time.Time{}, f)
}

var errNoTicket = errors.New("no ticket lets this agent fetch that: it has ended, or was another's")

func (d *seeds) entry(in *http.Request, agent identity.ID, digest string) audit.Entry {
	return audit.Entry{
		Actor: "agent/" + agent.Name, From: "tls " + in.RemoteAddr, Role: identity.AgentRole, Method: methodSeed,
		Detail: map[string]string{"digest": digest},
	}
}

// agentKey is where a request has the identity of its agent.
type agentKey struct{}

// seedConn is a connection of an agent, for as long as a ticket lasts at most.
type seedConn struct {
	net.Conn
	agent identity.ID
	end   *time.Timer
}

func (c *seedConn) Close() error {
	c.end.Stop()
	return c.Conn.Close()
}

// patient lets go of an agent that takes nothing for too long.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(seedPatience)); err != nil {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}

// handedOver is a listener of connections that somebody else has accepted.
type handedOver struct {
	address net.Addr
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (h *handedOver) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handedOver) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handedOver) Addr() net.Addr { return h.address }

// artifactProtocol says whether a client offers that and nothing else.
func artifactProtocol(offered []string) bool {
	return len(offered) == 1 && offered[0] == fetch.Protocol
}
