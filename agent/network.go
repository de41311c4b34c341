package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/certs"
	"github.com/gracefleet/gracefleet/agent/internal/fetch"
	"github.com/gracefleet/gracefleet/agent/internal/registry"
	"github.com/gracefleet/gracefleet/agent/internal/server"
	"github.com/gracefleet/gracefleet/agent/internal/signatures"
	"github.com/gracefleet/gracefleet/api"
)

const (
	// lookEvery is how often a change of the configuration is looked for.
	lookEvery = time.Second
	// recheckEvery ends the connections whose certificates have expired meanwhile.
	recheckEvery = time.Minute
	// warnEvery keeps what nobody acts upon from filling the log. What ends within a
	// day is said at each look.
	warnEvery     = 24 * time.Hour
	warnLookEvery = time.Hour
)

// network is the agent's place outside its host.
type network struct {
	certs    *certs.Keeper
	renewer  *certs.Renewer // nil when nobody renews
	renew    string         // where
	listener net.Listener
}

// openNetwork listens if the configuration says where. There is no way to do so
// without certificates.
func openNetwork(ctx context.Context, c Config) (*network, error) {
	if c.Listen == "" {
		if c.TLS != (TLS{}) {
			return nil, fmt.Errorf("%s: certificates without --listen serve nobody: say HOST:PORT, or leave them out", c.name())
		}
		return nil, nil
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return nil, fmt.Errorf("--listen %q: want HOST:PORT, such as 10.0.0.5:7443 or :7443", c.Listen)
	}
	keeper, err := certs.Open(c.TLS.Files, c.Log.Named("certs"))
	if err != nil {
		return nil, err
	}
	n := &network{certs: keeper, renew: c.TLS.Renew}
	if n.renewer, err = newRenewer(keeper, c); err != nil {
		return nil, fmt.Errorf("%s: %w", c.name(), err)
	}
	if n.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen); err != nil {
		return nil, fmt.Errorf("--listen %s: %w", c.Listen, err)
	}
	return n, nil
}

// newRenewer has the CA renew the agent's certificate, if the configuration says
// which; nil otherwise.
func newRenewer(k *certs.Keeper, c Config) (*certs.Renewer, error) {
	if c.TLS.Renew == "" {
		return nil, nil
	}
	if host, _, err := net.SplitHostPort(c.TLS.Renew); err != nil || host == "" {
		return nil, fmt.Errorf("tls: renew: %q: want HOST:PORT of the CA, such as ca.example.org:7444", c.TLS.Renew)
	}
	if _, err := access.AgentID(k.Leaf()); err != nil {
		return nil, fmt.Errorf("tls: renew: the CA could not know the agent: %w", err)
	}
	dial := func(own tls.Certificate, roots *x509.CertPool) (certs.Authority, error) {
		id, err := access.AgentID(own.Leaf)
		if err != nil {
			return nil, err
		}
		return api.DialRenew(c.TLS.Renew, own, roots, id.TrustDomain)
	}
	return certs.NewRenewer(k, dial, c.Log.Named("renew"))
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
		reading.Go(func() { n.warn(ctx, a.log) })
	}
	if n != nil && n.renewer != nil {
		reading.Go(func() { n.renewer.Run(ctx) })
	}
	if a.config.File == "" {
		return
	}
	// Nothing says that the file is still what the agent has begun with: restoring its
	// services takes time.
	var read, last time.Time
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

// warn logs what is wrong with the certificates, or will be soon: once a day, and
// when it becomes more urgent.
func (n *network) warn(ctx context.Context, log hclog.Logger) {
	var said time.Time
	var loudest certs.Urgency
	every(ctx, warnLookEvery, func() {
		urgency := certs.Fine
		for _, w := range n.certs.Warnings(time.Now()) {
			urgency = max(urgency, w.Urgency)
		}
		if urgency <= loudest && urgency < certs.Now && time.Since(said) < warnEvery {
			return
		}
		said, loudest = time.Now(), urgency
		level := hclog.Warn
		if urgency > certs.InTime {
			level = hclog.Error
		}
		for _, w := range n.warnings() {
			log.Log(level, "certificates: "+w)
		}
	})
}

// warnings are for whoever asks about the agent. That the CA is away is one only when
// something ends for it.
func (n *network) warnings() []string {
	if n == nil {
		return nil
	}
	var out []string
	for _, w := range n.certs.Warnings(time.Now()) {
		out = append(out, w.Text)
	}
	if n.renewer == nil || len(out) == 0 {
		return out
	}
	if err := n.renewer.Contact().Err; err != nil {
		out = append(out, fmt.Sprintf("the CA at %s does not renew them: %v", n.renew, err))
	}
	return out
}

// info describes it; nil without one.
func (n *network) info() *server.NetworkInfo {
	if n == nil {
		return nil
	}
	f := n.certs.Figures()
	i := &server.NetworkInfo{
		Address: n.address(), Identity: f.Identity, Serial: f.Serial, Issuer: f.Issuer, NotBefore: f.NotBefore, NotAfter: f.NotAfter,
		CANotAfter: f.CANotAfter, CRLNextUpdate: f.CRLNextUpdate, Renew: n.renew,
	}
	if n.renewer == nil {
		return i
	}
	c := n.renewer.Contact()
	i.RenewContact = c.At
	if c.Err != nil {
		i.RenewError = c.Err.Error()
	}
	return i
}

func modified(path string) (at time.Time) {
	if info, err := os.Stat(path); err == nil {
		at = info.ModTime()
	}
	return at
}

// policies are what of the configuration holds as soon as it is written.
type policies struct {
	access   *access.Policy
	signed   *signatures.Policy
	fetching *fetch.Policy
	entry    *registry.Entry
}

func (n *network) policies(c Config) (p policies, err error) {
	if p.access, err = n.policy(c); err != nil {
		return p, err
	}
	if p.signed, err = c.signatures(); err != nil {
		return p, err
	}
	if p.fetching, err = c.fetching(); err != nil {
		return p, err
	}
	p.entry, err = n.entry(c)
	return p, err
}

// readPolicies lets changed permissions, and a change of whose signatures count, of
// what may be fetched or of where the host is registered, hold. A file that cannot be
// read, or is wrong, leaves those of before in force.
func (a *agent) readPolicies(n *network, srv *server.Server) {
	next := a.config
	next.Access, next.Fetch, next.RequireSignature, next.SigningKeys, next.Registry = Access{}, Fetch{}, nil, nil, registry.Options{}
	var p policies
	err := ReadConfig(a.config.File, true, &next)
	if err == nil {
		p, err = n.policies(next)
	}
	if err != nil {
		a.log.Error("the changed configuration cannot be used: what held before stays in force: permissions, signing keys, and what may be fetched", "error", err)
		return
	}
	a.registrar.Set(p.entry)
	if !reflect.DeepEqual(p.signed, a.supervisor.Signatures()) {
		a.supervisor.SetSignatures(p.signed)
		a.log.Info("signing keys, and what requires a signature, were read anew", "file", a.config.File)
	}
	if !reflect.DeepEqual(p.fetching, a.fetcher.Policy()) {
		a.fetcher.SetPolicy(p.fetching)
		a.log.Info("what may be fetched was read anew", "file", a.config.File)
	}
	if reflect.DeepEqual(p.access, srv.Policy()) {
		return // watches would end for nothing
	}
	srv.SetPolicy(p.access)
	a.log.Info("permissions were read anew; everything else in the file holds from the next start", "file", a.config.File)
}
