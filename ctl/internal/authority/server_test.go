package authority_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/api"
	"github.com/gracefleet/gracefleet/ctl/internal/authority"
	"github.com/gracefleet/gracefleet/ctl/internal/ca"
	"github.com/gracefleet/gracefleet/internal/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served is a CA that answers.
type served struct {
	t       *testing.T
	dir     string
	address string
	pin     [32]byte
	root    *x509.Certificate
	log     *lines
}

// lines is a log. It is safe for concurrent use.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func serve(t *testing.T) *served {
	t.Helper()
	s := &served{t: t, dir: filepath.Join(t.TempDir(), "ca"), log: &lines{}}
	a, err := ca.Create(t.Context(), s.dir, "example.org")
	if err != nil {
		t.Fatal(err)
	}
	s.pin, s.root = a.KeyPin(), a.Certificate()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- authority.Serve(ctx, s.dir, l, hclog.New(&hclog.LoggerOptions{Output: s.log, Level: hclog.Debug}))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for !strings.Contains(s.log.String(), "the CA answers") && len(ended) == 0 {
		time.Sleep(time.Millisecond)
	}
	return s
}

var web1 = ca.Request{Role: identity.AgentRole, Name: "web-1", Hosts: []string{"10.0.0.5"}, Lifetime: time.Hour}

// act changes the CA as a command of gracectl cert does.
func act[T any](s *served, do func(*ca.Signer) (T, error)) T {
	s.t.Helper()
	signer, err := ca.Lock(s.t.Context(), s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	defer signer.Close()
	got, err := do(signer)
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

func (s *served) token() []byte {
	s.t.Helper()
	return act(s, func(signer *ca.Signer) ([]byte, error) {
		secret, _, err := signer.Token(web1, time.Hour)
		return secret, err
	})
}

func (s *served) issue(r ca.Request) tls.Certificate {
	s.t.Helper()
	out := ca.OutputIn(s.t.TempDir(), r.Name)
	act(s, func(signer *ca.Signer) (*ca.Issued, error) { return signer.Issue(r, out) })
	pair, err := tls.LoadX509KeyPair(out.Certificate, out.Key)
	if err != nil {
		s.t.Fatal(err)
	}
	return pair
}

func (s *served) stranger(pin [32]byte) *api.Authority {
	s.t.Helper()
	a, err := api.DialJoin(s.address, pin)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { a.Close() })
	return a
}

func (s *served) known(own tls.Certificate) *api.Authority {
	s.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.root)
	a, err := api.DialRenew(s.address, own, roots, "example.org")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { a.Close() })
	return a
}

func request(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestJoin(t *testing.T) {
	s := serve(t)
	secret, mine := s.token(), request(t)
	got, err := s.stranger(s.pin).Join(t.Context(), secret, mine)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(got.Certificate)
	if err != nil || cert.URIs[0].String() != "spiffe://example.org/gracefleet/agent/web-1" || !got.CA.Equal(s.root) {
		t.Errorf("%v, %v", cert, err)
	}
	if list, err := x509.ParseRevocationList(got.RevocationList); err != nil || list.CheckSignatureFrom(got.CA) != nil {
		t.Errorf("the list: %v", err)
	}
	if again, err := s.stranger(s.pin).Join(t.Context(), secret, mine); err != nil || !bytes.Equal(again.Certificate, got.Certificate) {
		t.Errorf("after an answer that was lost: %v", err)
	}
	// Whatever is wrong with a token, the words are the same.
	var said []string
	for _, wrong := range [][]byte{secret, nil, make([]byte, 32), bytes.Repeat([]byte{1}, 1000)} {
		_, err := s.stranger(s.pin).Join(t.Context(), wrong, request(t))
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%v", err)
		}
		said = append(said, status.Convert(err).Message())
	}
	for _, words := range said {
		if words != said[0] {
			t.Errorf("%q is not %q", words, said[0])
		}
	}
	if _, err := s.stranger(s.pin).Join(t.Context(), s.token(), []byte("nonsense")); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a request that is none: %v", err)
	}
	if _, err := s.stranger(s.pin).Join(t.Context(), s.token(), make([]byte, 1<<20)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a request of a mebibyte: %v", err)
	}
	if _, err := s.stranger([32]byte{1}).Join(t.Context(), s.token(), request(t)); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "not the CA that the token is of") {
		t.Errorf("another pin: %v", err)
	}
	for _, form := range []string{string(secret), hex.EncodeToString(secret), fmt.Sprint(secret), base64.RawURLEncoding.EncodeToString(secret)} { //nolint:staticcheck // QF1010: as a log would print bytes
		if strings.Contains(s.log.String(), form) {
			t.Errorf("the secret is in the log, as %q", form)
		}
	}
}

// Who guesses is not listened to for a while, whatever they come with then.
func TestGuessing(t *testing.T) {
	s := serve(t)
	secret, guesser := s.token(), s.stranger(s.pin)
	for range 10 {
		if _, err := guesser.Join(t.Context(), make([]byte, 32), request(t)); status.Code(err) != codes.PermissionDenied {
			t.Fatal(err)
		}
	}
	if _, err := guesser.Join(t.Context(), secret, request(t)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%v", err)
	}
}

// Who has no certificate that counts is not listened to for a while, either: neither
// the log nor the CA's directory has work with them.
func TestAskingInVain(t *testing.T) {
	s := serve(t)
	nobody := s.known(tls.Certificate{})
	for range 50 {
		if _, err := nobody.RevocationList(t.Context()); err == nil {
			t.Fatal("it was given")
		}
		if _, err := nobody.Renew(t.Context(), nil); err == nil {
			t.Fatal("it was renewed")
		}
	}
	if got := strings.Count(s.log.String(), "there is no certificate"); got != 10 {
		t.Errorf("the log says so %d times", got)
	}
}

func TestRenew(t *testing.T) {
	s := serve(t)
	own := s.issue(web1)
	a := s.known(own)
	der, err := a.Renew(t.Context(), request(t))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil || cert.URIs[0].String() != own.Leaf.URIs[0].String() || !cert.IPAddresses[0].Equal(own.Leaf.IPAddresses[0]) {
		t.Errorf("%v, %v", cert, err)
	}
	if list, err := a.RevocationList(t.Context()); err != nil || len(list) == 0 {
		t.Errorf("the list: %v", err)
	}
	client := s.issue(ca.Request{Role: "admin", Name: "alice", Lifetime: time.Hour})
	expired := s.issue(ca.Request{Role: identity.AgentRole, Name: "web-2", Hosts: web1.Hosts, Lifetime: time.Second})
	foreign := serve(t).issue(web1)
	// A certificate's end is the first instant at which it counts no more.
	for time.Now().Before(expired.Leaf.NotAfter.Add(time.Second)) {
		time.Sleep(10 * time.Millisecond)
	}
	for name, row := range map[string]struct {
		own   tls.Certificate
		words string
	}{
		"nobody":         {tls.Certificate{}, "there is no certificate"},
		"an admin":       {client, "no agent's"},
		"expired":        {expired, "has expired"},
		"another CA's":   {foreign, "unknown authority"},
		"too many times": {own, ""},
	} {
		a := s.known(row.own)
		for _, ask := range []func() ([]byte, error){
			func() ([]byte, error) { return a.Renew(t.Context(), request(t)) },
			func() ([]byte, error) { return a.RevocationList(t.Context()) },
		} {
			if _, err := ask(); (row.words == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), row.words) {
				t.Errorf("%s: %v, want %q", name, err, row.words)
			}
		}
	}
	for range 30 {
		_, err = a.Renew(t.Context(), request(t))
	}
	if err == nil || !strings.Contains(err.Error(), "too many certificates") {
		t.Errorf("thirty times in a row: %v", err)
	}
}

func TestRevokedAgent(t *testing.T) {
	s := serve(t)
	own := s.issue(web1)
	a := s.known(own)
	if _, err := a.RevocationList(t.Context()); err != nil {
		t.Fatal(err)
	}
	act(s, func(signer *ca.Signer) (*ca.Revocation, error) { return signer.RevokeCertificate(own.Leaf, "") })
	for _, a := range []*api.Authority{a, s.known(own)} { // also on a connection that stands
		if _, err := a.Renew(t.Context(), request(t)); err == nil || !strings.Contains(err.Error(), "was revoked") {
			t.Errorf("revoked: %v", err)
		}
		if _, err := a.RevocationList(t.Context()); err == nil || !strings.Contains(err.Error(), "was revoked") {
			t.Errorf("revoked: %v", err)
		}
	}
}

// A host's certificate is a server's, too. With it, it cannot pass for the CA: not to
// hosts that join, nor to agents that renew.
func TestAHostIsNotTheCA(t *testing.T) {
	s := serve(t)
	own := s.issue(web1)
	own.Certificate = append(own.Certificate, s.root.Raw)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan int64, 1)
	go func() {
		var heard int64
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			n, _ := c.Read(make([]byte, 1))
			heard += int64(n)
			c.Close()
		}
		ended <- heard
	}()
	ca := s.address
	s.address = l.Addr().String()
	if _, err := s.stranger(s.pin).Join(t.Context(), make([]byte, 32), request(t)); err == nil || !strings.Contains(err.Error(), "which is not the CA of example.org") {
		t.Errorf("%v", err)
	}
	if _, err := s.known(own).Renew(t.Context(), request(t)); err == nil || !strings.Contains(err.Error(), "which is not the CA of example.org") {
		t.Errorf("%v", err)
	}
	s.address = ca
	l.Close()
	if heard := <-ended; heard != 0 {
		t.Errorf("it heard %d bytes", heard)
	}
}

// Connections that say nothing hold up nobody.
func TestHalfOpenHandshakes(t *testing.T) {
	s := serve(t)
	for range 8 {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if _, err := s.stranger(s.pin).Join(t.Context(), s.token(), request(t)); err != nil {
		t.Error(err)
	}
}

// What is wrong with the CA is told to its own log alone.
func TestBrokenCA(t *testing.T) {
	s := serve(t)
	own := s.issue(web1)
	act(s, func(signer *ca.Signer) (int, error) { return 0, breakJournal(signer) })
	_, err := s.known(own).Renew(t.Context(), request(t))
	if err == nil || err.Error() != "the CA cannot do it now: its log says why" || !strings.Contains(s.log.String(), ca.JournalFile) {
		t.Errorf("%v\n%s", err, s.log)
	}
	if _, err := s.stranger(s.pin).Join(t.Context(), make([]byte, 32), request(t)); status.Code(err) != codes.Internal {
		t.Errorf("%v", err)
	}
}

func breakJournal(s *ca.Signer) error {
	return os.WriteFile(s.Path(ca.JournalFile), []byte("half a li"), 0o600)
}

func TestServeNeedsACA(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.Serve(t.Context(), t.TempDir(), l, hclog.NewNullLogger()); err == nil || !strings.Contains(err.Error(), "there is no CA") {
		t.Errorf("%v", err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("the listener is open")
	}
}
