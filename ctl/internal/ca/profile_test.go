package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gracefleet/gracefleet/internal/identity"
)

// What is issued verifies as intended, whatever the names, and not otherwise.
func TestIssuedCertificatesVerify(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s, other := setUp(t, now), setUp(t, now)
	names := rapid.StringMatching(`[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?`)
	hosts := rapid.SliceOfNDistinct(rapid.OneOf(rapid.StringMatching(`[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{1,10}){0,3}`), rapid.Custom(address)), 1, 5, rapid.ID)
	rapid.Check(t, func(t *rapid.T) {
		id := identity.ID{TrustDomain: "example.org", Role: names.Draw(t, "role"), Name: names.Draw(t, "name")}
		if rapid.Bool().Draw(t, "agent") {
			id.Role = identity.AgentRole
		}
		called := hosts.Draw(t, "hosts")
		lifetime := time.Duration(rapid.Int64Range(int64(time.Second), int64(maxLifetime)).Draw(t, "lifetime"))
		start, end, err := s.period(lifetime, now)
		if err != nil {
			t.Fatal(err)
		}
		cert, _, err := s.make(id, called, start, end, now)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := IdentityOf(cert); err != nil || got != id {
			t.Fatalf("%v, %v", got, err)
		}
		if end.After(s.cert.NotAfter) || end.Sub(now) > lifetime {
			t.Fatalf("valid until %v", end)
		}
		verified(t, s, other, cert, now)
		calledAs(t, cert, id, called)
	})
}

func address(t *rapid.T) string {
	if rapid.Bool().Draw(t, "v6") {
		ip := net.IP(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "ip"))
		ip[0] = 0xfd
		return ip.String()
	}
	ip := net.IP(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "ip"))
	ip[0] = 10
	return ip.String()
}

func verified(t *rapid.T, s, other *Signer, cert *x509.Certificate, now time.Time) {
	id, _ := IdentityOf(cert)
	for _, test := range []struct {
		what  string
		roots *x509.CertPool
		at    time.Time
		usage x509.ExtKeyUsage
		good  bool
	}{
		{"client", pool(s.cert), now, x509.ExtKeyUsageClientAuth, true},
		{"server", pool(s.cert), now, x509.ExtKeyUsageServerAuth, id.Agent()},
		{"signer of code", pool(s.cert), now, x509.ExtKeyUsageCodeSigning, false},
		{"wrong CA", pool(other.cert), now, x509.ExtKeyUsageClientAuth, false},
		{"a clock behind", pool(s.cert), now.Add(-skew), x509.ExtKeyUsageClientAuth, true},
		{"too early", pool(s.cert), now.Add(-skew - 2*time.Second), x509.ExtKeyUsageClientAuth, false},
		{"expired", pool(s.cert), cert.NotAfter.Add(time.Second), x509.ExtKeyUsageClientAuth, false},
	} {
		_, err := cert.Verify(x509.VerifyOptions{Roots: test.roots, CurrentTime: test.at, KeyUsages: []x509.ExtKeyUsage{test.usage}})
		if (err == nil) != test.good {
			t.Errorf("%s as %s: %v", cert.URIs[0], test.what, err)
		}
	}
}

func calledAs(t *rapid.T, cert *x509.Certificate, id identity.ID, hosts []string) {
	if !id.Agent() {
		if len(HostsOf(cert)) > 0 {
			t.Errorf("a client has hosts %q", HostsOf(cert))
		}
		return
	}
	for _, host := range hosts {
		if err := cert.VerifyHostname(host); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := cert.VerifyHostname("elsewhere.example.net"); err == nil {
		t.Error("it is good for any host")
	}
}

func TestProfileOfTheCA(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	c := setUp(t, now).cert
	if !c.IsCA || c.MaxPathLen != 0 || !c.MaxPathLenZero || c.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || len(c.ExtKeyUsage) > 0 {
		t.Errorf("%+v", c)
	}
	if !c.PermittedDNSDomainsCritical || !slices.Equal(c.PermittedURIDomains, []string{"example.org"}) {
		t.Errorf("constraints %v", c.PermittedURIDomains)
	}
	if !c.NotBefore.Equal(now.Add(-5*time.Minute)) || c.NotAfter.Year() != 2036 {
		t.Errorf("valid from %v to %v", c.NotBefore, c.NotAfter)
	}
	if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("%T", c.PublicKey)
	}
}

func TestProfilesOfLeaves(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s := setUp(t, now)
	for r, want := range map[*Request][]x509.ExtKeyUsage{
		&alice: {x509.ExtKeyUsageClientAuth},
		&web1:  {x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	} {
		c, _ := issue(t, s, *r)
		if !slices.Equal(c.ExtKeyUsage, want) || c.KeyUsage != x509.KeyUsageDigitalSignature || c.IsCA || !c.BasicConstraintsValid {
			t.Errorf("%s: %+v", r.Name, c)
		}
		if len(c.URIs) != 1 || c.URIs[0].String() != "spiffe://example.org/gracefleet/"+r.Role+"/"+r.Name {
			t.Errorf("%s: %v", r.Name, c.URIs)
		}
		if !slices.Equal(HostsOf(c), append([]string{}, r.Hosts...)) || len(c.EmailAddresses) > 0 {
			t.Errorf("%s: hosts %v", r.Name, HostsOf(c))
		}
		if !c.NotBefore.Equal(now.Add(-5*time.Minute)) || !c.NotAfter.Equal(now.Add(90*day)) || c.SerialNumber.BitLen() > 128 {
			t.Errorf("%s: %v to %v, %x", r.Name, c.NotBefore, c.NotAfter, c.SerialNumber)
		}
	}
}

// The CA's constraint binds even who has its key.
func TestForeignIdentitiesAreNotAccepted(t *testing.T) {
	now := time.Now()
	s := setUp(t, now)
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for _, uri := range []string{"spiffe://example.net/gracefleet/operator/alice", "spiffe://10.0.0.1/gracefleet/operator/alice", "spiffe:///gracefleet/operator/alice"} {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template, _ := leafTemplate(identity.ID{TrustDomain: "example.org", Role: "operator", Name: "alice"}, nil, now, now.Add(day))
		template.URIs = []*url.URL{u}
		if _, err := s.sign(template, &key.PublicKey, now); err == nil {
			t.Errorf("%s was accepted", uri)
		}
	}
	// Nor is another CA below this one.
	template, _ := caTemplate("example.org", &key.PublicKey, now)
	der, err := x509.CreateCertificate(rand.Reader, template, s.cert, &key.PublicKey, s.key)
	if err != nil {
		t.Fatal(err)
	}
	below, _ := x509.ParseCertificate(der)
	leaf, _ := leafTemplate(identity.ID{TrustDomain: "example.org", Role: "operator", Name: "alice"}, nil, now, now.Add(day))
	der, err = x509.CreateCertificate(rand.Reader, leaf, below, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	_, err = cert.Verify(x509.VerifyOptions{Roots: pool(s.cert), Intermediates: pool(below), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err == nil {
		t.Error("a CA below this one was accepted")
	}
	if s.Issued(below) {
		t.Error("a CA counts as a certificate that was issued")
	}
}

func TestIdentities(t *testing.T) {
	for uri, good := range map[string]bool{
		"spiffe://example.org/gracefleet/operator/alice":   true,
		"spiffe://example.org/gracefleet/agent/web-1":      true,
		"https://example.org/gracefleet/operator/alice":    false,
		"spiffe://example.org/gracefleet/operator":         false,
		"spiffe://example.org/gracefleet/operator/alice/":  false,
		"spiffe://example.org/gracefleet//alice":           false,
		"spiffe://example.org/gracefleet/operator/..":      false,
		"spiffe://example.org/other/operator/alice":        false,
		"spiffe://example.org:1/gracefleet/operator/alice": false,
		"spiffe://u@example.org/gracefleet/operator/alice": false,
		"spiffe://example.org/gracefleet/operator/alice?x": false,
		"spiffe://example.org/gracefleet/operator/alice#x": false,
		"spiffe://example.org/gracefleet/operator/%61lice": false,
		"spiffe://Example.org/gracefleet/operator/alice":   false,
		"spiffe:///gracefleet/operator/alice":              false,
	} {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		id, err := IdentityOf(&x509.Certificate{URIs: []*url.URL{u}})
		if (err == nil) != good || good && id.URI().String() != uri {
			t.Errorf("%s: %+v, %v", uri, id, err)
		}
	}
	if _, err := IdentityOf(&x509.Certificate{}); err == nil {
		t.Error("no URI is no identity")
	}
}

// Both ends of a connection hold each other to their certificates.
func TestMutualTLS(t *testing.T) {
	s := setUp(t, time.Now())
	_, agent := issue(t, s, web1)
	_, client := issue(t, s, alice)
	server, caller := pair(t, agent), pair(t, client)
	for _, test := range []struct {
		what           string
		server, client tls.Certificate
		good           bool
	}{
		{"a client calls an agent", server, caller, true},
		{"an agent calls an agent", server, server, true},
		{"a client passes for an agent", caller, caller, false},
	} {
		if err := shake(s.cert, test.server, test.client); (err == nil) != test.good {
			t.Errorf("%s: %v", test.what, err)
		}
	}
}

func pair(t *testing.T, out Output) tls.Certificate {
	t.Helper()
	c, err := tls.LoadX509KeyPair(out.Certificate, out.Key)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(out.Key); err != nil || !strings.HasPrefix(string(data), "-----BEGIN PRIVATE KEY-----") {
		t.Errorf("%.30s, %v", data, err)
	}
	return c
}

func shake(root *x509.Certificate, server, client tls.Certificate) error {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		conn := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: pool(root), ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13})
		done <- conn.Handshake()
		a.Close()
	}()
	err := tls.Client(b, &tls.Config{Certificates: []tls.Certificate{client}, RootCAs: pool(root), ServerName: "10.0.0.5", MinVersion: tls.VersionTLS13}).Handshake()
	b.Close()
	return errors.Join(err, <-done)
}
