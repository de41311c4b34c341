package agent

import (
	"crypto/x509"
	"fmt"
	"net"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/registry"
	"github.com/gracefleet/gracefleet/internal/identity"
)

// entry is what the configuration registers of the agent; nil if nothing. Who reads it
// looks at the agent's identity, so there is none without.
func (n *network) entry(c Config) (*registry.Entry, error) {
	var id identity.ID
	var address string
	if len(c.Registry.Etcd) > 0 {
		if n == nil {
			return nil, fmt.Errorf("%s: registry: nobody reaches an agent that does not listen: say listen and tls", c.name())
		}
		var err error
		if id, err = access.AgentID(n.certs.Leaf()); err != nil {
			return nil, fmt.Errorf("%s: registry: clients could not know the agent: %w", c.name(), err)
		}
		address = n.reachedAt(n.certs.Leaf())
	}
	e, err := c.Registry.Entry(id.Name, id.String(), address)
	if err != nil {
		return nil, fmt.Errorf("%s: registry: %w", c.name(), err)
	}
	return e, nil
}

// reachedAt is where clients probably reach the agent: where it listens, or else what
// its certificate is for. Empty when neither says.
func (n *network) reachedAt(leaf *x509.Certificate) string {
	host, port, err := net.SplitHostPort(n.address())
	if ip := net.ParseIP(host); err == nil && ip != nil && !ip.IsUnspecified() {
		return n.address()
	}
	switch {
	case len(leaf.DNSNames) > 0:
		return net.JoinHostPort(leaf.DNSNames[0], port)
	case len(leaf.IPAddresses) > 0:
		return net.JoinHostPort(leaf.IPAddresses[0].String(), port)
	}
	return ""
}

// unregistered is a warning for whoever asks about the agent.
func (a *agent) unregistered() []string {
	if text := a.registrar.Warning(time.Now()); text != "" {
		return []string{text}
	}
	return nil
}
