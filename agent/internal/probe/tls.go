package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// tlsConfig reads the probe's certificates anew each time, since they are
// renewed while services run. host is the name to expect when none is given.
func tlsConfig(p *service.TLSProbe, host string) (*tls.Config, error) {
	c := &tls.Config{ServerName: hostname(host), MinVersion: tls.VersionTLS12}
	if p == nil {
		return c, nil
	}
	if p.ServerName != "" {
		c.ServerName = p.ServerName
	}
	c.InsecureSkipVerify = p.SkipVerify // the operator's choice, for a connection that never leaves the host
	if p.CA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(p.CA)
	if err != nil {
		return nil, fmt.Errorf("tls ca: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls ca: %s holds no PEM certificate", p.CA)
	}
	return c, nil
}

// hostname is the name of "name", "name:port" or "[::1]:port"; "localhost" for
// none.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host == "" {
		return "localhost"
	}
	return host
}

func handshake(ctx context.Context, conn net.Conn, c *tls.Config) (net.Conn, error) {
	secure := tls.Client(conn, c)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("tls handshake: %w", err)
	}
	return secure, nil
}
