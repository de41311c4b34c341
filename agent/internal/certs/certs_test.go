package certs_test

import (
	"context"
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/agent/internal/certs"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

func open(t *testing.T, f certs.Files) *certs.Keeper {
	t.Helper()
	return openLogged(t, f, hclog.NewNullLogger())
}

func openLogged(t *testing.T, f certs.Files, log hclog.Logger) *certs.Keeper {
	t.Helper()
	k, err := certs.Open(f, log)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestVerify(t *testing.T) {
	ca, other := certstest.NewCA(t), certstest.NewCA(t)
	files := certs.Files(ca.Agent("web-1"))
	revoked := ca.Client("ci", "stolen")
	files.Revoked = ca.Revoke(revoked)
	k := open(t, files)
	for name, c := range map[string]struct {
		chain []*x509.Certificate
		text  string
	}{
		"good":           {chain: []*x509.Certificate{ca.Client("operator", "alice").Leaf}},
		"none":           {text: "no certificate"},
		"wrong CA":       {chain: []*x509.Certificate{other.Client("admin", "eve").Leaf}, text: "unknown authority"},
		"revoked":        {chain: []*x509.Certificate{revoked.Leaf}, text: "was revoked"},
		"expired":        {chain: []*x509.Certificate{ca.Client("a", "b", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }).Leaf}, text: "expired"},
		"not yet valid":  {chain: []*x509.Certificate{ca.Client("a", "c", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }).Leaf}, text: "not yet valid"},
		"for a server":   {chain: []*x509.Certificate{ca.Client("a", "d", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }).Leaf}, text: "key usage"},
		"for everything": {chain: []*x509.Certificate{ca.Client("a", "e", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }).Leaf}},
	} {
		err := k.Verify(c.chain)
		if (c.text == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %q", name, err, c.text)
		}
	}
}

func TestBadFiles(t *testing.T) {
	ca, other := certstest.NewCA(t), certstest.NewCA(t)
	good, foreign := certs.Files(ca.Agent("web-1")), certs.Files(other.Agent("web-1"))
	garbage, empty := good.Cert+".garbage", good.Cert+".empty"
	for path, content := range map[string]string{garbage: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", empty: "\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for words, change := range map[string]func(f *certs.Files){
		"--tls-cert is missing":     func(f *certs.Files) { f.Cert = "" },
		"--tls-key is missing":      func(f *certs.Files) { f.Key = "" },
		"--tls-ca is missing":       func(f *certs.Files) { f.CA = "" },
		"no such file":              func(f *certs.Files) { f.Cert += "x" },
		"does not match":            func(f *certs.Files) { f.Key = foreign.Key },
		"may not issue others":      func(f *certs.Files) { f.CA = f.Cert },
		"holds no certificate":      func(f *certs.Files) { f.CA = f.Key },
		"malformed":                 func(f *certs.Files) { f.CA = garbage },
		"signed by none of the roo": func(f *certs.Files) { f.Revoked = other.Revoke() },
		"crl":                       func(f *certs.Files) { f.Revoked = f.Key },
		"holds no list":             func(f *certs.Files) { f.Revoked = empty },
	} {
		f := good
		change(&f)
		if _, err := certs.Open(f, hclog.NewNullLogger()); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q: %v", words, err)
		}
	}
}

// What changes on disk holds soon; what is broken there changes nothing.
func TestReload(t *testing.T) {
	ca := certstest.NewCA(t)
	files := certs.Files(ca.Agent("web-1"))
	alice := ca.Client("operator", "alice")
	files.Revoked = ca.Revoke()
	said := make(lines, 10)
	k := openLogged(t, files, hclog.New(&hclog.LoggerOptions{Output: said}))
	if err := k.Verify([]*x509.Certificate{alice.Leaf}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changed, ended := make(chan struct{}, 10), make(chan struct{})
	go func() {
		k.Run(ctx, func() { changed <- struct{}{} })
		close(ended)
	}()
	ca.Revoke(alice)
	<-changed
	if err := k.Verify([]*x509.Certificate{alice.Leaf}); err == nil || !strings.Contains(err.Error(), "was revoked") {
		t.Errorf("revoked: %v", err)
	}
	was := k.Leaf().SerialNumber
	if err := os.WriteFile(files.Revoked, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(<-said, "cannot be used") {
	}
	if err := os.Truncate(files.Revoked, 0); err != nil { // as by a copy that has just begun
		t.Fatal(err)
	}
	for !strings.Contains(<-said, "holds no list") {
	}
	ca.Agent("web-1") // a good certificate beside a bad list: neither is taken
	for !strings.Contains(<-said, "cannot be used") {
	}
	if k.Leaf().SerialNumber.Cmp(was) != 0 || k.Verify([]*x509.Certificate{alice.Leaf}) == nil {
		t.Error("beside a broken list something was taken")
	}
	ca.Revoke(alice)
	<-changed
	if k.Leaf().SerialNumber.Cmp(was) == 0 {
		t.Error("the renewed certificate is not used")
	}
	if err := k.Verify([]*x509.Certificate{alice.Leaf}); err == nil {
		t.Error("what was revoked is trusted after a broken list")
	}
	cancel()
	<-ended
}

// lines are what a logger says, one after the other.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}
