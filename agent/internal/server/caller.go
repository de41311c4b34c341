package server

import (
	"context"
	"crypto/x509"

	"google.golang.org/grpc/peer"

	"github.com/gracefleet/gracefleet/agent/internal/access"
)

// Caller is who makes calls on one connection, proved by the kernel or by a
// certificate. It implements credentials.AuthInfo.
type Caller struct {
	// Name as history and audit show it, such as "alice (uid 1000)".
	Name string
	// From says where the connection comes from.
	From string
	// key tells callers apart whose connections are counted.
	key   string
	local *Peer             // on the local socket
	cert  *x509.Certificate // over the network
}

// AuthType names how the caller was identified.
func (c Caller) AuthType() string {
	if c.local != nil {
		return "unix-peer"
	}
	return "mutual-tls"
}

// callerOf is who makes a call.
func callerOf(ctx context.Context) (Caller, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Caller{}, false
	}
	c, ok := p.AuthInfo.(Caller)
	return c, ok
}

// almighty are root, and whoever the agent runs as: they could do everything
// without it.
func (c Caller) almighty(owner uint32) bool {
	return c.local != nil && (c.local.UID == 0 || c.local.UID == owner)
}

// roles are those that the caller has by a policy.
func (c Caller) roles(p *access.Policy, owner uint32) []string {
	switch {
	case c.almighty(owner):
		return []string{string(access.Admin)}
	case c.local != nil:
		return c.local.roles(p)
	case c.cert != nil:
		if id, err := p.Identify(c.cert); err == nil {
			return []string{id.Role}
		}
	}
	return nil
}

// grants are what the caller may do on this host now.
func (s *Server) grants(c Caller) access.Grants {
	p := s.Policy()
	if c.almighty(s.owner) {
		return access.Everything() // whatever admin is redefined to
	}
	return p.Grants(c.roles(p, s.owner)...)
}
