package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/internal/identity"
)

// issuer is a CA in memory, as an Authority. It is safe for concurrent use.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	life time.Duration

	mu      sync.Mutex
	last    int64
	away    error
	change  func(*x509.Certificate)
	revoked []x509.RevocationListEntry
	number  int64
	renewed []time.Time
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newIssuer(life time.Duration) *issuer {
	i := &issuer{key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), life: life, number: 1}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: fmt.Sprint("CA ", time.Now())}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		SubjectKeyId: must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 160))).Bytes(),
	}
	i.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, t, t, &i.key.PublicKey, i.key))))
	return i
}

func (i *issuer) certify(key any) []byte {
	i.last++
	t := &x509.Certificate{
		SerialNumber: big.NewInt(i.last + 1), Subject: pkix.Name{CommonName: "web-1"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, DNSNames: []string{"web-1"}, IPAddresses: []net.IP{{10, 0, 0, 5}},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/gracefleet/agent/web-1"}}, NotBefore: time.Now().Add(-identity.Skew), NotAfter: time.Now().Add(i.life),
	}
	if i.change != nil {
		i.change(t)
	}
	return must(x509.CreateCertificate(rand.Reader, t, i.cert, key, i.key))
}

func (i *issuer) list() []byte {
	return must(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(i.number), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().AddDate(1, 0, 0), RevokedCertificateEntries: i.revoked,
	}, i.cert, i.key))
}

// Renew issues for the key of a request.
func (i *issuer) Renew(_ context.Context, request []byte) ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.away != nil {
		return nil, i.away
	}
	r := must(x509.ParseCertificateRequest(request))
	i.renewed = append(i.renewed, time.Now())
	return i.certify(r.PublicKey), nil
}

// RevocationList is the one of now.
func (i *issuer) RevocationList(context.Context) ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.away != nil {
		return nil, i.away
	}
	return i.list(), nil
}

// Close does nothing.
func (i *issuer) Close() error { return nil }

func (i *issuer) set(do func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	do()
}

// place fills a directory with what a host has that has joined.
func (i *issuer) place(dir string) Files {
	f := Files{Cert: filepath.Join(dir, "agent.pem"), Key: filepath.Join(dir, "agent.pem"), CA: filepath.Join(dir, "ca.pem"), Revoked: filepath.Join(dir, "crl.pem")}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	pair := append(block("CERTIFICATE", i.certify(&key.PublicKey)), block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))...)
	for path, data := range map[string][]byte{f.Cert: pair, f.CA: block("CERTIFICATE", i.cert.Raw), f.Revoked: block("X509 CRL", i.list())} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			panic(err)
		}
	}
	return f
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (i *issuer) dial(tls.Certificate, *x509.CertPool) (Authority, error) { return i, nil }

const testLook = 30 * time.Minute

// renewing runs keeper and renewer, until the function that it returns is called.
func renewing(t *testing.T, i *issuer, f Files, log hclog.Logger) (*Keeper, *Renewer, func()) {
	t.Helper()
	k, err := Open(f, log)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRenewer(k, i.dial, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { // as Run, which would look ten million times in some months
		look := time.NewTicker(testLook)
		defer look.Stop()
		for ctx.Err() == nil {
			select {
			case <-look.C:
				k.reload()
			case <-ctx.Done():
			}
		}
	})
	running.Go(func() { r.Run(ctx) })
	return k, r, func() {
		cancel()
		running.Wait()
	}
}

// A year of ninety-day certificates: each is renewed when two thirds are over, once.
func TestRenewsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const life = 90 * 24 * time.Hour
		i := newIssuer(life)
		k, r, end := renewing(t, i, i.place(t.TempDir()), hclog.NewNullLogger())
		begun := time.Now()
		time.Sleep(250 * 24 * time.Hour)
		end()
		if len(i.renewed) != 4 {
			t.Errorf("in 250 days it was renewed at %v", i.renewed)
		}
		for n, at := range i.renewed {
			if took := at.Sub(begun); took < life*6/10 || took > life*2/3+2*contactEvery {
				t.Errorf("renewal %d came after %v", n, took)
			}
			begun = at
		}
		if c := r.Contact(); c.Err != nil || time.Since(c.At) > 2*contactEvery {
			t.Errorf("the last contact was %+v", c)
		}
		if w := k.Warnings(time.Now()); len(w) != 0 {
			t.Errorf("warnings: %v", w)
		}
	})
}

// A CA that is away is asked again, with patience, and complained of once a day. What
// was there goes on.
func TestCAIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(90 * 24 * time.Hour)
		i.away = errors.New("nobody there")
		var said bytes.Buffer
		k, r, end := renewing(t, i, i.place(t.TempDir()), hclog.New(&hclog.LoggerOptions{Output: &said, Level: hclog.Info}))
		was := k.Leaf()
		time.Sleep(80*24*time.Hour + time.Minute)
		if !k.Leaf().Equal(was) || r.Contact().Err == nil || !r.Contact().At.IsZero() {
			t.Errorf("%+v", r.Contact())
		}
		if w := k.Warnings(time.Now()); len(w) == 0 || w[0].Urgency != InTime || !strings.Contains(w[0].Text, "in 9 days: renew ") {
			t.Errorf("warnings: %v", w)
		}
		i.set(func() { i.away = nil })
		time.Sleep(2 * contactEvery)
		end()
		if k.Leaf().Equal(was) || r.Contact().Err != nil || len(i.renewed) != 1 {
			t.Errorf("when it is back: %+v, renewed at %v", r.Contact(), i.renewed)
		}
		if got := strings.Count(said.String(), "could not be asked"); got < 78 || got > 81 || strings.Count(said.String(), "answers again") != 1 {
			t.Errorf("in 80 days it was said %d times:\n%s", got, &said)
		}
	})
}

// What a CA revokes holds here soon. An older list takes nothing back, and lists of
// others stay.
func TestFetchesRevocations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, other := newIssuer(90*24*time.Hour), newIssuer(time.Hour)
		other.number = 7
		other.revoked = []x509.RevocationListEntry{{SerialNumber: big.NewInt(5), RevocationTime: time.Now()}}
		f := i.place(t.TempDir())
		appendTo(t, f.CA, block("CERTIFICATE", other.cert.Raw))
		appendTo(t, f.Revoked, block("X509 CRL", other.list()))
		k, r, end := renewing(t, i, f, hclog.NewNullLogger())
		defer end()
		alice := must(x509.ParseCertificate(i.certify(&i.key.PublicKey)))
		if err := k.Verify([]*x509.Certificate{alice}); err != nil {
			t.Fatal(err)
		}
		i.set(func() {
			i.number = 2
			i.revoked = []x509.RevocationListEntry{{SerialNumber: alice.SerialNumber, RevocationTime: time.Now()}}
		})
		time.Sleep(contactEvery*11/10 + 2*testLook)
		if err := k.Verify([]*x509.Certificate{alice}); err == nil || !strings.Contains(err.Error(), "was revoked") {
			t.Errorf("after an hour: %v", err)
		}
		i.set(func() { i.number, i.revoked = 1, nil })
		time.Sleep(2 * contactEvery)
		if err := k.Verify([]*x509.Certificate{alice}); err == nil || r.Contact().Err == nil || !strings.Contains(r.Contact().Err.Error(), "older than 2") {
			t.Errorf("an older list: %v, %v", err, r.Contact().Err)
		}
		lists := k.now.Load().lists
		if len(lists) != 2 || len(k.now.Load().revoked) != 2 {
			t.Errorf("there are %d lists with %d entries", len(lists), len(k.now.Load().revoked))
		}
	})
}

func appendTo(t *testing.T, path string, data []byte) {
	t.Helper()
	was, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append(was, data...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What is not the same agent's certificate, for longer, is not written.
func TestWrongSuccessorsAreNotUsed(t *testing.T) {
	other := newIssuer(time.Hour)
	otherKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for name, row := range map[string]struct {
		change func(i *issuer, c *x509.Certificate)
		words  string
	}{
		"another name":      {func(_ *issuer, c *x509.Certificate) { c.URIs[0].Path = "/gracefleet/agent/web-2" }, "it is for [spiffe://example.org/gracefleet/agent/web-2]"},
		"a second name":     {func(_ *issuer, c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }, "it is for "},
		"another host":      {func(_ *issuer, c *x509.Certificate) { c.DNSNames = []string{"web-2"} }, "it is for "},
		"another address":   {func(_ *issuer, c *x509.Certificate) { c.IPAddresses = []net.IP{{10, 0, 0, 6}} }, "it is for "},
		"for no server":     {func(_ *issuer, c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }, "key usage"},
		"for no client":     {func(_ *issuer, c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, "key usage"},
		"of another CA":     {func(i *issuer, _ *x509.Certificate) { i.cert, i.key = other.cert, other.key }, "unknown authority"},
		"not yet valid":     {func(_ *issuer, c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, "not yet valid"},
		"for no longer":     {func(_ *issuer, c *x509.Certificate) { c.NotAfter = time.Now() }, "no later than"},
		"revoked":           {func(_ *issuer, c *x509.Certificate) { c.SerialNumber = big.NewInt(99) }, "was revoked"},
		"as it ought to be": {func(*issuer, *x509.Certificate) {}, ""},
	} {
		i := newIssuer(time.Hour)
		i.revoked = []x509.RevocationListEntry{{SerialNumber: big.NewInt(99), RevocationTime: time.Now()}}
		s := must(i.place(t.TempDir()).read())
		key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		i.life = 2 * time.Hour
		i.change = func(c *x509.Certificate) { row.change(i, c) }
		if _, err := s.successor(i.certify(&key.PublicKey), key, time.Now()); (row.words == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), row.words) {
			t.Errorf("%s: %v, want %q", name, err, row.words)
		}
		if _, err := s.successor(i.certify(&otherKey.PublicKey), key, time.Now()); err == nil {
			t.Errorf("%s: for another key it is used", name)
		}
		if _, err := s.successor([]byte("nonsense"), key, time.Now()); err == nil {
			t.Error("nonsense is used")
		}
	}
}

func TestRenewalNeedsOneFile(t *testing.T) {
	i := newIssuer(time.Hour)
	f := i.place(t.TempDir())
	apart := f
	apart.Key = filepath.Join(filepath.Dir(f.Key), "agent.key")
	if err := os.Link(f.Key, apart.Key); err != nil {
		t.Fatal(err)
	}
	alone := f
	alone.Revoked = ""
	for words, f := range map[string]Files{"in one file": apart, "needs revoked": alone} {
		k, err := Open(f, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewRenewer(k, i.dial, hclog.NewNullLogger()); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
}

// A file that a link leads to is replaced, not the link; and what cannot be written
// is not asked for.
func TestRenewsBehindLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(time.Hour)
		f := i.place(t.TempDir())
		dir := t.TempDir()
		linked := f
		for _, p := range []*string{&linked.Cert, &linked.Revoked} {
			link := filepath.Join(dir, filepath.Base(*p))
			if err := os.Symlink(*p, link); err != nil {
				t.Fatal(err)
			}
			*p = link
		}
		linked.Key = linked.Cert
		was := must(os.ReadFile(f.Cert))
		_, _, end := renewing(t, i, linked, hclog.NewNullLogger())
		time.Sleep(50 * time.Minute)
		end()
		if bytes.Equal(must(os.ReadFile(f.Cert)), was) {
			t.Error("the file is the old one")
		}
		if info := must(os.Lstat(linked.Cert)); info.Mode()&os.ModeSymlink == 0 {
			t.Error("the link was replaced")
		}
	})
}

func TestFullDisk(t *testing.T) {
	i := newIssuer(time.Hour)
	f := i.place(t.TempDir())
	k := must(Open(f, hclog.NewNullLogger()))
	r := must(NewRenewer(k, i.dial, hclog.NewNullLogger()))
	if err := os.Remove(f.Cert); err != nil {
		t.Fatal(err)
	}
	if err := r.renew(t.Context(), i, k.now.Load()); err == nil || len(i.renewed) != 0 {
		t.Errorf("the CA was asked in vain: %v", err)
	}
}

// renewUntilKilled is a process that renews as fast as it can.
func renewUntilKilled(dir string) {
	i := newIssuer(time.Hour)
	f := i.place(dir)
	fmt.Println("begun")
	for {
		i.life += time.Minute
		k := must(Open(f, hclog.NewNullLogger()))
		r := must(NewRenewer(k, i.dial, hclog.NewNullLogger()))
		i.number++
		s := k.now.Load()
		if err := errors.Join(r.sweep(), r.fetch(context.Background(), i, s), r.renew(context.Background(), i, s)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

// Whenever it is killed, there is a whole pair that its CA has issued, and a list.
func TestKilledWhileItRenews(t *testing.T) {
	for n := range 40 {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "CERTS_TEST_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(n) * 500 * time.Microsecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if cmd.ProcessState.Exited() {
			t.Fatal("it ended by itself")
		}
		f := Files{Cert: filepath.Join(dir, "agent.pem"), Key: filepath.Join(dir, "agent.pem"), CA: filepath.Join(dir, "ca.pem"), Revoked: filepath.Join(dir, "crl.pem")}
		k, err := Open(f, hclog.NewNullLogger())
		if err != nil {
			t.Fatalf("killed after %d half milliseconds: %v", n, err)
		}
		if err := k.Verify([]*x509.Certificate{k.Leaf()}); err != nil {
			t.Errorf("killed after %d half milliseconds: %v", n, err)
		}
		r := must(NewRenewer(k, func(tls.Certificate, *x509.CertPool) (Authority, error) { return nil, errors.New("away") }, hclog.NewNullLogger()))
		if err := r.sweep(); err != nil {
			t.Error(err)
		}
		if left := must(os.ReadDir(dir)); len(left) != 3 {
			t.Errorf("beside them there are %v", left)
		}
	}
}

// What was renewed is not renewed again before the keeper has read it.
func TestRenewsOnce(t *testing.T) {
	i := newIssuer(time.Hour)
	k := must(Open(i.place(t.TempDir()), hclog.NewNullLogger()))
	r := must(NewRenewer(k, i.dial, hclog.NewNullLogger()))
	s := k.now.Load()
	late := dueAt(s.own.Leaf, 0).Add(time.Second)
	if !r.due(s, late) || r.due(s, late.Add(-10*time.Minute)) {
		t.Error("it is due at another time")
	}
	i.life = 2 * time.Hour
	if err := r.renew(t.Context(), i, s); err != nil {
		t.Fatal(err)
	}
	if r.due(k.now.Load(), late) {
		t.Error("it is due again")
	}
	if !k.reload() || r.due(k.now.Load(), late) {
		t.Error("the new one is due")
	}
	// With its CA at an end, there is nothing to be gained.
	i.life = 400 * 24 * time.Hour
	i.change = func(c *x509.Certificate) { c.NotAfter = i.cert.NotAfter }
	if err := r.renew(t.Context(), i, k.now.Load()); err != nil {
		t.Fatal(err)
	}
	if !k.reload() || r.due(k.now.Load(), i.cert.NotAfter) {
		t.Error("a certificate that ends with its CA is due")
	}
}

// Two CAs are trusted while one takes over from the other. What ends with the old one
// is no matter to a certificate of the new one.
func TestRenewsBesideACAThatEnds(t *testing.T) {
	i, old := newIssuer(time.Hour), newIssuer(time.Hour)
	f := i.place(t.TempDir())
	old.cert.NotAfter = time.Now().Add(time.Minute)
	appendTo(t, f.CA, block("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, old.cert, old.cert, &old.key.PublicKey, old.key))))
	k := must(Open(f, hclog.NewNullLogger()))
	r := must(NewRenewer(k, i.dial, hclog.NewNullLogger()))
	s := k.now.Load()
	if late := dueAt(s.own.Leaf, 0).Add(time.Second); !r.due(s, late) {
		t.Error("it is never due")
	}
}
