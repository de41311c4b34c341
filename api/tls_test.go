package api_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/api"
	gracefleetv1 "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

// serveTLS stands for an agent with such a certificate, and returns its port.
func serveTLS(t *testing.T, ca *certstest.CA, own tls.Certificate) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(), MinVersion: tls.VersionTLS13,
	})))
	gracefleetv1.RegisterSupervisorServiceServer(g, &flaky{})
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		<-done
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// stop makes one call to such an agent.
func stop(t *testing.T, target string, config api.TLS) error {
	t.Helper()
	conn, err := api.DialTLS(target, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = gracefleetv1.NewSupervisorServiceClient(conn).StopService(ctx, &gracefleetv1.StopServiceRequest{Name: "web"})
	return err
}

// The agent is who it is meant to be, or nothing is said to it.
func TestTheAgentIsVerified(t *testing.T) {
	ca, other := certstest.NewCA(t), certstest.NewCA(t)
	client := ca.ClientFiles("operator", "alice")
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	forTheHost := func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} }
	bothUsages := func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) }
	const id = "spiffe://example.org/gracefleet/agent/web-1"
	for name, row := range map[string]struct {
		own   tls.Certificate
		host  string
		ca    string
		id    string
		words string
	}{
		"by name":                  {own: ca.Agent("web-1").Pair(t), host: "localhost"},
		"by address":               {own: ca.Agent("web-1").Pair(t), host: "127.0.0.1"},
		"by another name":          {own: ca.Agent("web-1", func(c *x509.Certificate) { c.DNSNames = []string{"web-1.example.org"} }).Pair(t), host: "localhost", words: "not localhost"},
		"by identity":              {own: ca.Agent("web-1", func(c *x509.Certificate) { c.IPAddresses = nil }).Pair(t), host: "127.0.0.1", id: id},
		"another agent":            {own: ca.Agent("web-2").Pair(t), host: "127.0.0.1", id: id, words: "agent/web-2"},
		"wrong CA":                 {own: ca.Agent("web-1").Pair(t), host: "localhost", ca: other.File(), words: "unknown authority"},
		"wrong CA, by identity":    {own: ca.Agent("web-1").Pair(t), host: "localhost", ca: other.File(), id: id, words: "unknown authority"},
		"expired":                  {own: ca.Agent("web-1", expired).Pair(t), host: "localhost", words: "expired"},
		"expired, by identity":     {own: ca.Agent("web-1", expired).Pair(t), host: "localhost", id: id, words: "expired"},
		"a client that poses":      {own: ca.ClientFiles("operator", "eve", forTheHost).Pair(t), host: "localhost", words: "key usage"},
		"a client for everything":  {own: ca.ClientFiles("operator", "both", forTheHost, bothUsages).Pair(t), host: "localhost", words: "no agent"},
		"a client poses, identity": {own: ca.ClientFiles("agent", "web-1").Pair(t), host: "localhost", id: id, words: "key usage"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := serveTLS(t, ca, row.own)
			config := api.TLS{CertFile: client.Cert, KeyFile: client.Key, CAFile: client.CA, AgentID: row.id}
			if row.ca != "" {
				config.CAFile = row.ca
			}
			err := stop(t, net.JoinHostPort(row.host, port), config)
			switch {
			case row.words == "" && err != nil:
				t.Error(err)
			case row.words != "" && (status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), row.words)):
				t.Errorf("got %v, want %q", err, row.words)
			}
		})
	}
}

func TestDialTLSFiles(t *testing.T) {
	ca := certstest.NewCA(t)
	files, foreign := ca.ClientFiles("operator", "alice"), ca.ClientFiles("read", "bob")
	absent := filepath.Join(t.TempDir(), "absent")
	for words, change := range map[string]func(c *api.TLS){
		"--tls-cert is missing": func(c *api.TLS) { c.CertFile = "" },
		"--tls-key is missing":  func(c *api.TLS) { c.KeyFile = "" },
		"--tls-ca is missing":   func(c *api.TLS) { c.CAFile = "" },
		"--tls-cert " + absent:  func(c *api.TLS) { c.CertFile = absent },
		"--tls-key " + absent:   func(c *api.TLS) { c.KeyFile = absent },
		"--tls-ca: open":        func(c *api.TLS) { c.CAFile = absent },
		"holds no certificate":  func(c *api.TLS) { c.CAFile = files.Key },
		"does not match":        func(c *api.TLS) { c.KeyFile = foreign.Key },
		`agent id "web-1"`:      func(c *api.TLS) { c.AgentID = "web-1" },
	} {
		c := api.TLS{CertFile: files.Cert, KeyFile: files.Key, CAFile: files.CA}
		change(&c)
		if err := stop(t, "localhost:1", c); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q: %v", words, err)
		}
	}
	for _, target := range []string{"localhost", ":7443", "", "/run/graced.sock"} {
		if _, err := api.DialTLS(target, api.TLS{}); err == nil || !strings.Contains(err.Error(), "HOST:PORT") {
			t.Errorf("%q: %v", target, err)
		}
	}
}

// A certificate that was renewed is used by the next connection, without a new
// client.
func TestRenewedCertificateIsUsed(t *testing.T) {
	ca := certstest.NewCA(t)
	port := serveTLS(t, ca, ca.Agent("web-1").Pair(t))
	files := ca.ClientFiles("operator", "alice", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	conn, err := api.DialTLS("localhost:"+port, api.TLS{CertFile: files.Cert, KeyFile: files.Key, CAFile: files.CA})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := gracefleetv1.NewSupervisorServiceClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := client.StopService(ctx, &gracefleetv1.StopServiceRequest{Name: "web"}); status.Code(err) != codes.Unavailable {
		t.Fatalf("with an expired certificate: %v", err)
	}
	if renewed := ca.ClientFiles("operator", "alice"); renewed != files {
		t.Fatalf("renewed as %v", renewed)
	}
	if _, err := client.StopService(ctx, &gracefleetv1.StopServiceRequest{Name: "web"}, grpc.WaitForReady(true)); err != nil {
		t.Errorf("renewed: %v", err)
	}
	if err := os.Remove(files.Key); err != nil { // a connection that stands needs it no more
		t.Fatal(err)
	}
	if _, err := client.StopService(ctx, &gracefleetv1.StopServiceRequest{Name: "web"}); err != nil {
		t.Errorf("the standing connection: %v", err)
	}
}

// A Dialer reads its files for many connections, and what it could not read again.
func TestDialerReadsItsFilesOnce(t *testing.T) {
	ca := certstest.NewCA(t)
	port := serveTLS(t, ca, ca.Agent("web-1").Pair(t))
	files := ca.ClientFiles("operator", "alice")
	away := files.Key + ".away"
	if err := os.Rename(files.Key, away); err != nil {
		t.Fatal(err)
	}
	d := api.NewDialer(api.TLS{CertFile: files.Cert, KeyFile: files.Key, CAFile: files.CA})
	if _, err := d.Dial("localhost:"+port, ""); err == nil || !strings.Contains(err.Error(), "--tls-key "+files.Key) {
		t.Errorf("without a key: %v", err)
	}
	if err := os.Rename(away, files.Key); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		conn, err := d.Dial("localhost:"+port, "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = gracefleetv1.NewSupervisorServiceClient(conn).StopService(t.Context(), &gracefleetv1.StopServiceRequest{Name: "web"})
		if err != nil {
			t.Errorf("a call: %v", err)
		}
		_ = os.Remove(files.Key)
	}
}

// Whom a Dialer reaches is said for each connection.
func TestDialerKnowsAgents(t *testing.T) {
	ca := certstest.NewCA(t)
	port := serveTLS(t, ca, ca.Agent("web-1").Pair(t))
	files := ca.ClientFiles("operator", "alice")
	d := api.NewDialer(api.TLS{CertFile: files.Cert, KeyFile: files.Key, CAFile: files.CA})
	for agent, known := range map[string]bool{"web-1": true, "web-2": false} {
		conn, err := d.Dial("localhost:"+port, "spiffe://example.org/gracefleet/agent/"+agent)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = gracefleetv1.NewSupervisorServiceClient(conn).StopService(ctx, &gracefleetv1.StopServiceRequest{Name: "web"})
		if (err == nil) != known {
			t.Errorf("%s: %v", agent, err)
		}
	}
}
