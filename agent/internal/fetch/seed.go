package fetch

import (
	"crypto/tls"
	"fmt"

	"github.com/gracefleet/gracefleet/internal/identity"
	"github.com/gracefleet/gracefleet/internal/link"
)

// Protocol is what agents speak among each other where one fetches from another, as TLS
// negotiates it (RFC 7301): GET /HEX of HTTP/1.1, with a ticket as bearer.
const Protocol = "gracefleet-artifact/1"

// Seed is another agent that holds an artifact, and lets this one fetch it.
type Seed struct {
	At     link.Link
	Agent  identity.ID
	Ticket string // a secret
}

// Peers proves this agent to another one, and that one to it: with its identity,
// whatever its address is.
type Peers interface {
	Toward(agent identity.ID, protocol string) *tls.Config
}

// config is how the seed proves itself; peers is nil where the agent is not on the
// network.
func (s *Seed) config(peers Peers) (*tls.Config, error) {
	if peers == nil {
		return nil, fmt.Errorf("%w: this agent has no certificate, as it is not on the network: see listen and tls of graced.yaml", ErrUnusable)
	}
	return peers.Toward(s.Agent, Protocol), nil
}
