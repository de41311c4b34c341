package join

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/gracefleet/gracefleet/ctl/internal/authority"
	"github.com/gracefleet/gracefleet/ctl/internal/ca"
	"github.com/gracefleet/gracefleet/internal/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served is a CA that answers at an address.
func served(t *testing.T) (dir, address string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "ca")
	if _, err := ca.Create(t.Context(), dir, "example.org"); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- authority.Serve(ctx, dir, l, hclog.NewNullLogger()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return dir, l.Addr().String()
}

func token(t *testing.T, dir string, addresses ...string) authority.Token {
	t.Helper()
	s, err := ca.Lock(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	secret, _, err := s.Token(ca.Request{Role: identity.AgentRole, Name: "web-1", Hosts: []string{"10.0.0.5"}, Lifetime: time.Hour}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return authority.Token{Addresses: addresses, Pin: s.KeyPin(), Secret: [32]byte(secret)}
}

func place(t *testing.T) Place {
	t.Helper()
	dir := t.TempDir()
	return Place{Dir: filepath.Join(dir, "tls"), Config: filepath.Join(dir, "etc", "graced.yaml")}
}

func leaf(t *testing.T, p Place) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(p.Certificate(), p.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf.SerialNumber.String()
}

func TestJoin(t *testing.T) {
	dir, address := served(t)
	p, tok := place(t), token(t, dir, "127.0.0.1:1", address) // nobody is at the first
	joined, err := Join(t.Context(), tok, p, false)
	if err != nil {
		t.Fatal(err)
	}
	if joined.ID.String() != "spiffe://example.org/gracefleet/agent/web-1" || joined.Address != address || leaf(t, p) != joined.Certificate.SerialNumber.String() {
		t.Errorf("%+v", joined)
	}
	if err := p.Done(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p.pending()); err == nil {
		t.Error("the key is in a second place")
	}
	before := leaf(t, p)
	if _, err := Join(t.Context(), token(t, dir, address), p, false); err == nil || !strings.Contains(err.Error(), "agent/web-1] until") || !strings.Contains(err.Error(), "--force") {
		t.Errorf("%v", err)
	}
	if leaf(t, p) != before {
		t.Error("the identity was replaced")
	}
	if _, err := Join(t.Context(), token(t, dir, address), p, true); err != nil || leaf(t, p) == before {
		t.Errorf("with force: %v", err)
	}
}

// cutting passes connections on to a CA, but nothing back once that has issued
// something.
type cutting struct {
	net.Listener
	dir, to string
	deaf    atomic.Bool
	conns   sync.WaitGroup
}

func (c *cutting) run() {
	for {
		in, err := c.Accept()
		if err != nil {
			return
		}
		c.conns.Go(func() { c.pass(in) })
	}
}

func (c *cutting) pass(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	c.conns.Go(func() {
		defer out.Close()
		_, _ = io.Copy(out, in)
	})
	buf := make([]byte, 4096)
	for {
		n, err := out.Read(buf)
		if err != nil {
			return
		}
		if a, err := ca.Open(c.dir); c.deaf.Load() && err == nil && len(a.Entries()) > 0 {
			return
		}
		if _, err := in.Write(buf[:n]); err != nil {
			return
		}
	}
}

// The CA has used the token up, and the host never heard of it: the same token gives
// the same certificate, since the key is still there.
func TestAnswerLost(t *testing.T) {
	dir, address := served(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutting{Listener: l, dir: dir, to: address}
	c.deaf.Store(true)
	c.conns.Go(c.run)
	defer c.conns.Wait()
	defer l.Close()
	p, tok := place(t), token(t, dir, l.Addr().String())
	if _, err := Join(t.Context(), tok, p, false); err == nil {
		t.Fatal("the answer was not lost")
	}
	a, err := ca.Open(dir)
	if err != nil || len(a.Entries()) != 1 {
		t.Fatalf("the CA has issued %v, %v", a.Entries(), err)
	}
	if _, err := os.Stat(p.Certificate()); err == nil {
		t.Fatal("there is a certificate")
	}
	c.deaf.Store(false)
	joined, err := Join(t.Context(), tok, p, false)
	if err != nil || ca.FormatSerial(joined.Certificate.SerialNumber) != a.Entries()[0].Serial {
		t.Errorf("again: %+v, %v", joined, err)
	}
	leaf(t, p)
}

// Cut off when the certificate was there and nothing else yet: the same command ends
// it. After that, the identity is not to be replaced.
func TestJoinCutOff(t *testing.T) {
	dir, address := served(t)
	p, tok := place(t), token(t, dir, address)
	first, err := Join(t.Context(), tok, p, false)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Join(t.Context(), tok, p, false)
	if err != nil || !again.Certificate.Equal(first.Certificate) {
		t.Fatalf("again: %+v, %v", again, err)
	}
	if err := errors.Join(p.Done(), p.Done()); err != nil {
		t.Fatal(err)
	}
	if _, err := Join(t.Context(), token(t, dir, address), p, false); err == nil || !strings.Contains(err.Error(), "--force replaces it") {
		t.Errorf("a second identity: %v", err)
	}
}

func TestJoinRefuses(t *testing.T) {
	dir, address := served(t)
	other, _ := served(t)
	for name, row := range map[string]struct {
		prepare func(p Place, tok *authority.Token)
		words   string
	}{
		"nobody there":          {func(_ Place, tok *authority.Token) { tok.Addresses = []string{"127.0.0.1:1"} }, "the CA at 127.0.0.1:1: "},
		"no such name":          {func(_ Place, tok *authority.Token) { tok.Addresses = []string{"ca.invalid:7444"} }, "lookup ca.invalid"},
		"another CA":            {func(_ Place, tok *authority.Token) { tok.Pin[0] ^= 1 }, "not the CA that the token is of"},
		"another secret":        {func(_ Place, tok *authority.Token) { tok.Secret[0] ^= 1 }, "the join token does not count"},
		"a CA is there already": {func(p Place, _ *authority.Token) { copyFile(t, filepath.Join(other, "ca.pem"), p.CA()) }, "is of another CA"},
		"a key for others to read": {func(p Place, _ *authority.Token) {
			copyFile(t, filepath.Join(other, "ca.key"), p.pending())
		}, "can be used by others"},
		"no directory": {func(p Place, _ *authority.Token) { copyFile(t, filepath.Join(other, "ca.pem"), p.Dir) }, "not a directory"},
	} {
		p, tok := place(t), token(t, dir, address)
		row.prepare(p, &tok)
		if _, err := Join(t.Context(), tok, p, false); err == nil || !strings.Contains(err.Error(), row.words) {
			t.Errorf("%s: %v, want %q", name, err, row.words)
		}
		if _, err := os.Stat(p.Certificate()); err == nil {
			t.Errorf("%s: there is a certificate", name)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestConfigure(t *testing.T) {
	p := place(t)
	lines, err := p.Lines(":7443", "ca.example.org:7444")
	if err != nil {
		t.Fatal(err)
	}
	var s settings
	if err := yaml.UnmarshalWithOptions([]byte(lines), &s, yaml.Strict()); err != nil || s.Listen != ":7443" || s.TLS.Renew != "ca.example.org:7444" || s.TLS.Cert != s.TLS.Key {
		t.Errorf("%s: %+v, %v", lines, s, err)
	}
	for range 2 { // the second time it is there
		if done, err := p.Configure(lines); err != nil || !done {
			t.Errorf("%v, %v", done, err)
		}
	}
	if data, err := os.ReadFile(p.Config); err != nil || !strings.HasSuffix(string(data), lines) {
		t.Errorf("%s, %v", data, err)
	}
	mine := []byte("log_level: debug\n")
	if err := os.WriteFile(p.Config, mine, 0o644); err != nil {
		t.Fatal(err)
	}
	if done, err := p.Configure(lines); err != nil || done {
		t.Errorf("%v, %v", done, err)
	}
	if data, err := os.ReadFile(p.Config); err != nil || string(data) != string(mine) {
		t.Errorf("somebody's configuration became %s, %v", data, err)
	}
}
