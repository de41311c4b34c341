package api

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// TLS is how a client proves who it is, and knows the agent.
type TLS struct {
	// CertFile and KeyFile are the client's, PEM. They are read for each connection,
	// by a Dialer now and then, so a renewed certificate needs no new client.
	CertFile, KeyFile string
	// CAFile holds the certificates of those who issue agents', PEM.
	CAFile string
	// AgentID, if set, is the identity that the agent's certificate must carry, such
	// as spiffe://example.org/gracefleet/agent/web-1, whatever the address says. By
	// default the certificate must be for the host of the address.
	AgentID string
}

// DialTLS prepares a connection to the agent at HOST:PORT, with mutual TLS 1.3.
// Otherwise it is as Dial.
func DialTLS(target string, t TLS, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	d := Dialer{tls: t}
	return d.Dial(target, t.AgentID, options...)
}

// Dialer prepares connections to many agents, as one client. It is safe for concurrent
// use.
type Dialer struct {
	tls  TLS
	keep time.Duration // how long what was read counts

	mu   sync.Mutex
	read time.Time
	last proofs
}

// proofs are what the files of a client hold.
type proofs struct {
	pair  *tls.Certificate
	roots *x509.CertPool
}

// keepProofs is soon enough for a certificate that was renewed: the one before is good
// for longer.
const keepProofs = time.Minute

// NewDialer is a client by these files, which it reads once a minute at most: to parse
// them for each connection is a tenth of what that costs. The AgentID of t is not used.
func NewDialer(t TLS) *Dialer { return &Dialer{tls: t, keep: keepProofs} }

// Dial is as DialTLS, with the identity that the agent must have; empty means that its
// certificate must be for the host of the address.
func (d *Dialer) Dial(target, agentID string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	host, _, err := net.SplitHostPort(target)
	if err != nil || host == "" {
		return nil, fmt.Errorf("agent %q: want unix:PATH or HOST:PORT, such as web-1.example.org:7443", target)
	}
	config, err := d.config(host, agentID)
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", target, err)
	}
	// Which calls are repeated is not for a name server to say.
	all := append(defaults(), grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithDisableServiceConfig())
	conn, err := grpc.NewClient("dns:///"+target, append(all, options...)...)
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", target, err)
	}
	return conn, nil
}

// proofs are read anew when they are too old. What could not be read is tried again.
func (d *Dialer) proofs() (proofs, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last.pair != nil && time.Since(d.read) < d.keep {
		return d.last, nil
	}
	p, err := d.tls.proofs()
	if err != nil {
		return proofs{}, err
	}
	d.last, d.read = p, time.Now()
	return p, nil
}

func (t TLS) proofs() (proofs, error) {
	for _, required := range []struct{ flag, file string }{{"--tls-cert", t.CertFile}, {"--tls-key", t.KeyFile}, {"--tls-ca", t.CAFile}} {
		if required.file == "" {
			return proofs{}, fmt.Errorf("%s is missing: over the network --tls-cert, --tls-key and --tls-ca are needed (gracectl cert issue makes the files)", required.flag)
		}
	}
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return proofs{}, fmt.Errorf("--tls-cert %s with --tls-key %s: %w", t.CertFile, t.KeyFile, err)
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return proofs{}, fmt.Errorf("--tls-ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return proofs{}, fmt.Errorf("--tls-ca %s holds no certificate in PEM form", t.CAFile)
	}
	return proofs{&pair, roots}, nil
}

func (d *Dialer) config(host, agentID string) (*tls.Config, error) {
	now, err := d.proofs()
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: now.roots, ServerName: host,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			renewed, err := d.proofs()
			return renewed.pair, err
		},
	}
	if agentID == "" {
		config.VerifyConnection = func(state tls.ConnectionState) error { return isAgent(state.PeerCertificates[0]) }
		return config, nil
	}
	if !strings.HasPrefix(agentID, "spiffe://") || !strings.Contains(agentID, agentPath) {
		return nil, fmt.Errorf("agent id %q: want spiffe://TRUST-DOMAIN/gracefleet/agent/NAME", agentID)
	}
	// The name is not looked at, the rest is: chain, dates, purpose, and the identity.
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(state tls.ConnectionState) error { return verifyID(state.PeerCertificates, now.roots, agentID) }
	return config, nil
}

// agentPath is in the identity of every agent.
const agentPath = "/gracefleet/agent/"

// isAgent says whether a certificate that is good for the host is no client's, such
// as one of an issuer that gives all of them both usages.
func isAgent(c *x509.Certificate) error {
	for _, id := range c.URIs {
		if strings.HasPrefix(id.Path, "/gracefleet/") && !strings.HasPrefix(id.Path, agentPath) {
			return fmt.Errorf("tls: the certificate is of %s, which is no agent", id)
		}
	}
	return nil
}

func verifyID(chain []*x509.Certificate, roots *x509.CertPool, id string) error {
	if len(chain) == 0 {
		return errors.New("tls: the agent has no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		return err
	}
	if len(chain[0].URIs) != 1 || chain[0].URIs[0].String() != id {
		return fmt.Errorf("tls: the agent's certificate is of %v, not of %s", chain[0].URIs, id)
	}
	return nil
}
