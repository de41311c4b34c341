package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/certs"
	"github.com/gracefleet/gracefleet/agent/internal/server"
	"github.com/gracefleet/gracefleet/agent/internal/signatures"
)

const (
	// lookEvery is how often a change of the configuration is looked for.
	lookEvery = time.Second
	// recheckEvery ends the connections whose certificates have expired meanwhile.
	recheckEvery = time.Minute
	// warnEvery keeps what nobody acts upon from filling the log.
	warnEvery = 24 * time.Hour
)

// network is the agent's place outside its host.
type network struct {
	certs    *certs.Keeper
	listener net.Listener
}

// openNetwork listens if the configuration says where. There is no way to do so
// without certificates.
func openNetwork(ctx context.Context, c Config) (*network, error) {
	if c.Listen == "" {
		if c.TLS != (certs.Files{}) {
			return nil, errors.New("configuration: certificates without --listen serve nobody: say HOST:PORT, or leave them out")
		}
		return nil, nil
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return nil, fmt.Errorf("--listen %q: want HOST:PORT, such as 10.0.0.5:7443 or :7443", c.Listen)
	}
	keeper, err := certs.Open(c.TLS, c.Log.Named("certs"))
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", c.Listen, err)
	}
	return &network{certs: keeper, listener: l}, nil
}

// remote is what the server needs of it; nil without one.
func (n *network) remote() *server.Remote {
	if n == nil {
		return nil
	}
	return &server.Remote{Listener: n.listener, Certificates: n.certs}
}

func (n *network) close() error {
	if n == nil {
		return nil
	}
	return n.listener.Close()
}

// address is where it listens; empty without one.
func (n *network) address() string {
	if n == nil {
		return ""
	}
	return n.listener.Addr().String()
}

// policy is what the configuration says, in the trust domain of the agent's own
// certificate unless it names another.
func (n *network) policy(c Config) (*access.Policy, error) {
	p := c.Access.policy()
	if n == nil || p.TrustDomain != "" {
		return p, p.Validate()
	}
	id, err := access.AgentID(n.certs.Leaf())
	if err != nil {
		return nil, fmt.Errorf("the trust domain is not known: name it in access.trust_domain, or give the agent a certificate with spiffe://TRUST-DOMAIN/gracefleet/agent/NAME: %w", err)
	}
	p.TrustDomain = id.TrustDomain
	return p, p.Validate()
}

// follow reads changed certificates and permissions until ctx ends.
func (a *agent) follow(ctx context.Context, n *network, srv *server.Server) {
	var reading sync.WaitGroup
	defer reading.Wait()
	if n != nil {
		reading.Go(func() { n.certs.Run(ctx, srv.Recheck) })
		reading.Go(func() { every(ctx, recheckEvery, srv.Recheck) })
		reading.Go(func() { n.warnDaily(ctx, a.log) })
	}
	if a.config.File == "" {
		return
	}
	read := modified(a.config.File)
	last := read
	every(ctx, lookEvery, func() {
		now := modified(a.config.File)
		// Half a file may lack what its other half requires: it is read when whoever
		// writes it has let a look pass.
		if now.Equal(last) && !now.Equal(read) {
			read = now
			a.readPolicies(n, srv)
		}
		last = now
	})
}

// every does something at once and then again and again until ctx ends.
func every(ctx context.Context, interval time.Duration, do func()) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		do()
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// warnDaily logs what is wrong with the certificates, or will be soon.
func (n *network) warnDaily(ctx context.Context, log hclog.Logger) {
	every(ctx, warnEvery, func() {
		for _, w := range n.warnings() {
			log.Warn("certificates: " + w)
		}
	})
}

// warnings are for whoever asks about the agent.
func (n *network) warnings() []string {
	if n == nil {
		return nil
	}
	return n.certs.Warnings(time.Now())
}

func modified(path string) (at time.Time) {
	if info, err := os.Stat(path); err == nil {
		at = info.ModTime()
	}
	return at
}

// readPolicies lets changed permissions, and a change of whose signatures count,
// hold. A file that cannot be read, or is wrong, leaves those of before in force.
func (a *agent) readPolicies(n *network, srv *server.Server) {
	next := a.config
	next.Access, next.RequireSignature, next.SigningKeys = Access{}, nil, nil
	err := ReadConfig(a.config.File, true, &next)
	var p *access.Policy
	if err == nil {
		p, err = n.policy(next)
	}
	var signed *signatures.Policy
	if err == nil {
		signed, err = next.signatures()
	}
	if err != nil {
		a.log.Error("the changed configuration cannot be used: the permissions and signing keys of before stay in force", "error", err)
		return
	}
	if !reflect.DeepEqual(signed, a.supervisor.Signatures()) {
		a.supervisor.SetSignatures(signed)
		a.log.Info("signing keys, and what requires a signature, were read anew", "file", a.config.File)
	}
	if reflect.DeepEqual(p, srv.Policy()) {
		return // watches would end for nothing
	}
	srv.SetPolicy(p)
	a.log.Info("permissions were read anew; everything else in the file holds from the next start", "file", a.config.File)
}
