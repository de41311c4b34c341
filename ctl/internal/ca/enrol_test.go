package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gracefleet/gracefleet/internal/identity"
	"github.com/gracefleet/gracefleet/internal/needs"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func requestOf(t testing.TB, key any, claims x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &claims, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func token(t *testing.T, s *Signer, valid time.Duration) []byte {
	t.Helper()
	secret, _, err := s.Token(web1, valid)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func refused(t *testing.T, err error, why string, alarm bool) {
	t.Helper()
	var refused *TokenError
	if !errors.As(err, &refused) || !strings.Contains(refused.Why, why) || refused.Alarm != alarm {
		t.Errorf("%v (%+v), want %q", err, refused, why)
	}
	if err.Error() != new(TokenError).Error() {
		t.Errorf("whoever comes is told %q", err)
	}
}

func TestTokenCountsOnce(t *testing.T) {
	now := time.Now()
	s := setUp(t, now)
	secret := token(t, s, time.Hour)
	mine, theirs := requestOf(t, newKey(t), x509.CertificateRequest{}), requestOf(t, newKey(t), x509.CertificateRequest{})
	if kept, err := os.ReadFile(s.Path(TokensFile)); err != nil || strings.Contains(string(kept), string(secret)) {
		t.Errorf("the secret is kept (%v)", err)
	}
	_, err := s.Join([]byte("guess"), mine)
	refused(t, err, "not known", false)
	first, err := s.Join(secret, mine)
	if err != nil || first.Again {
		t.Fatal(first, err)
	}
	if e := s.Entries(); len(e) != 1 || e[0].Name != "web-1" || !slices.Equal(e[0].Hosts, web1.Hosts) || e[0].Role != identity.AgentRole {
		t.Errorf("the journal has %v", e)
	}
	// The answer may have been lost.
	s.Close()
	s = reopen(t, s.Dir(), now)
	again, err := s.Join(secret, mine)
	if err != nil || !again.Again || !again.Certificate.Equal(first.Certificate) || len(s.Entries()) != 1 {
		t.Errorf("again: %+v, %v", again, err)
	}
	_, err = s.Join(secret, theirs)
	refused(t, err, "two have it", true)
	_, err = s.Join(secret, mine)
	refused(t, err, "burnt", false)
	if len(s.Entries()) != 1 {
		t.Error("a refused token was used")
	}
}

func TestTokenEnds(t *testing.T) {
	now := time.Now()
	s := setUp(t, now)
	request := requestOf(t, newKey(t), x509.CertificateRequest{})
	used := token(t, s, time.Hour)
	if _, err := s.Join(used, request); err != nil {
		t.Fatal(err)
	}
	unused := token(t, s, time.Hour)
	s.now = func() time.Time { return now.Add(time.Hour + time.Second) }
	for _, secret := range [][]byte{used, unused} {
		_, err := s.Join(secret, request)
		refused(t, err, "expired", false)
	}
	next := token(t, s, time.Hour)
	_, err := s.Join(unused, request)
	refused(t, err, "not known", false)
	_, err = s.Join(used, request)
	refused(t, err, "expired", false)
	s.now = func() time.Time { return now.Add(30 * day) }
	token(t, s, time.Hour)
	tokens, err := s.readTokens()
	if err != nil || len(tokens) != 1 || tokens[0].Hash == hash(next) {
		t.Errorf("%v is kept, %v", tokens, err)
	}
}

// A revocation takes back what a token has given, and may give.
func TestRevokeAgent(t *testing.T) {
	s := setUp(t, time.Now())
	request := requestOf(t, newKey(t), x509.CertificateRequest{})
	used := token(t, s, time.Hour)
	joined, err := s.Join(used, request)
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := s.RenewAgent(joined.Certificate, requestOf(t, newKey(t), x509.CertificateRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	other, _ := issue(t, s, alice)
	unused := token(t, s, time.Hour)
	revoked, list, err := s.RevokeAgent("web-1", "stolen")
	if err != nil || len(revoked) != 2 || list.Revoked != 2 {
		t.Fatalf("%v, %+v, %v", revoked, list, err)
	}
	_, err = s.Join(used, request)
	refused(t, err, "was revoked", false)
	_, err = s.Join(unused, request)
	refused(t, err, "not known", false)
	if _, err := s.RenewAgent(renewed, request); err == nil || !strings.Contains(err.Error(), "it was revoked") {
		t.Errorf("%v", err)
	}
	if at, _, err := s.Revocation(other.SerialNumber); err != nil || !at.IsZero() {
		t.Errorf("another's was revoked (%v)", err)
	}
	if revoked, _, err := s.RevokeAgent("web-1", ""); err != nil || len(revoked) != 0 {
		t.Errorf("again: %v, %v", revoked, err)
	}
	if _, _, err := s.RevokeAgent("web/1", ""); err == nil {
		t.Error("no name")
	}
}

// Whatever a request claims, the certificate says what the token, or the old
// certificate, does.
func TestRequestsClaimInVain(t *testing.T) {
	s := setUp(t, time.Now())
	names := rapid.StringMatching(`[a-z0-9]{1,20}`)
	key, next := newKey(t), newKey(t)
	rapid.Check(t, func(rt *rapid.T) {
		secret, _, err := s.Token(web1, time.Hour)
		if err != nil {
			rt.Fatal(err)
		}
		claims := x509.CertificateRequest{
			Subject:  pkix.Name{CommonName: names.Draw(rt, "cn")},
			DNSNames: []string{names.Draw(rt, "dns")},
			URIs:     []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/gracefleet/admin/" + names.Draw(rt, "name")}},
			ExtraExtensions: []pkix.Extension{
				{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}, // a CA
			},
		}
		joined, err := s.Join(secret, requestOf(t, key, claims))
		if err != nil {
			rt.Fatal(err)
		}
		renewed, err := s.RenewAgent(joined.Certificate, requestOf(t, next, claims))
		if err != nil {
			rt.Fatal(err)
		}
		for _, cert := range []*x509.Certificate{joined.Certificate, renewed} {
			id, err := IdentityOf(cert)
			if err != nil || id != (identity.ID{TrustDomain: "example.org", Role: "agent", Name: "web-1"}) || cert.IsCA || !slices.Equal(HostsOf(cert), web1.Hosts) {
				rt.Fatalf("%v, %v at %v, CA %v", id, err, HostsOf(cert), cert.IsCA)
			}
		}
		if LifetimeOf(renewed) != LifetimeOf(joined.Certificate) || !next.PublicKey.Equal(renewed.PublicKey) {
			rt.Fatal("another lifetime or key")
		}
	})
}

func TestRenewAgentRefuses(t *testing.T) {
	now := time.Now()
	s, other := setUp(t, now), setUp(t, now)
	good := requestOf(t, newKey(t), x509.CertificateRequest{})
	cert, _ := issue(t, s, web1)
	foreign, _ := issue(t, other, web1)
	client, _ := issue(t, s, alice)
	short := web1
	short.Lifetime = time.Hour
	expired, _ := issue(t, s, short)
	own := newKey(t)
	secret := token(t, s, time.Hour)
	joined, err := s.Join(secret, requestOf(t, own, x509.CertificateRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	before := len(s.Entries())
	for name, row := range map[string]struct {
		old     *x509.Certificate
		request []byte
		words   string
	}{
		"another CA's":   {foreign, good, "this CA has not issued it"},
		"the CA's own":   {s.cert, good, "this CA has not issued it"},
		"a client's":     {client, good, "it is no agent's"},
		"the same key":   {joined.Certificate, requestOf(t, own, x509.CertificateRequest{}), "has the key of the old"},
		"nonsense":       {cert, []byte("nonsense"), "cannot be read"},
		"not its key's":  {cert, tampered(good), "not signed by its own key"},
		"another kind":   {cert, requestOf(t, rsaKey(t), x509.CertificateRequest{}), "another kind than ECDSA P-256"},
		"a larger curve": {cert, requestOf(t, curve(t), x509.CertificateRequest{}), "another kind than ECDSA P-256"},
	} {
		if _, err := s.RenewAgent(row.old, row.request); err == nil || !strings.Contains(err.Error(), row.words) {
			t.Errorf("%s: %v, want %q", name, err, row.words)
		}
	}
	s.now = func() time.Time { return now.Add(2 * time.Hour) }
	if _, err := s.RenewAgent(expired, good); err == nil || !strings.Contains(err.Error(), "it is expired") {
		t.Errorf("expired: %v", err)
	}
	if len(s.Entries()) != before {
		t.Error("the journal has what was refused")
	}
}

func tampered(request []byte) []byte {
	request = slices.Clone(request)
	request[len(request)-1] ^= 1
	return request
}

func rsaKey(t *testing.T) any {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func curve(t *testing.T) any {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestTokenRefuses(t *testing.T) {
	s := setUp(t, time.Now())
	nowhere := web1
	nowhere.Hosts = nil
	for _, row := range []struct {
		r     Request
		valid time.Duration
	}{{alice, time.Hour}, {nowhere, time.Hour}, {web1, 0}, {web1, 8 * day}} {
		if _, _, err := s.Token(row.r, row.valid); err == nil {
			t.Errorf("%+v for %v", row.r, row.valid)
		}
	}
	if _, err := os.Stat(s.Path(TokensFile)); err == nil {
		t.Error("a token is kept")
	}
	write(t, s.Path(TokensFile), "{}\n")
	if _, _, err := s.Token(web1, time.Hour); err == nil || !strings.Contains(err.Error(), TokensFile+":1: secret_sha256") {
		t.Errorf("%v", err)
	}
}

// The list that is given out has all that was revoked, and a time ahead of it.
func TestList(t *testing.T) {
	now := time.Now()
	s := setUp(t, now.Add(-12*day))
	s.now = time.Now
	cert, _ := issue(t, s, web1)
	entries := slices.Clone(s.journal)
	entries[0].RevokedAt = now.Truncate(time.Second).UTC()
	list := func() *x509.RevocationList {
		t.Helper()
		der, err := List(t.Context(), s.Dir())
		if err != nil {
			t.Fatal(err)
		}
		l, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	s.held.Close()
	old := list()
	if old.NextUpdate.Sub(now) < 29*day {
		t.Errorf("a list of 12 days was given on: until %v", old.NextUpdate)
	}
	if list().Number.Cmp(old.Number) != 0 {
		t.Error("a fresh list was signed anew")
	}
	// A revocation was cut off between the journal and the list.
	if err := s.record(entries); err != nil {
		t.Fatal(err)
	}
	if l := list(); len(l.RevokedCertificateEntries) != 1 || l.RevokedCertificateEntries[0].SerialNumber.Cmp(cert.SerialNumber) != 0 {
		t.Errorf("the list has %v", l.RevokedCertificateEntries)
	}
}

func TestServerCertificate(t *testing.T) {
	s := setUp(t, time.Now())
	own, err := s.ServerCertificate()
	if err != nil || len(s.Entries()) != 0 || len(own.Certificate) != 2 {
		t.Fatal(own, err)
	}
	if id, err := IdentityOf(own.Leaf); err != nil || id.String() != "spiffe://example.org/gracefleet/authority/ca" {
		t.Errorf("%v, %v", id, err)
	}
	for usage, good := range map[x509.ExtKeyUsage]bool{x509.ExtKeyUsageServerAuth: true, x509.ExtKeyUsageClientAuth: false} {
		if _, err := own.Leaf.Verify(x509.VerifyOptions{Roots: pool(s.cert), KeyUsages: []x509.ExtKeyUsage{usage}}); (err == nil) != good {
			t.Errorf("usage %v: %v", usage, err)
		}
	}
	if err := CheckRole(identity.AuthorityRole); err == nil {
		t.Error("a client may have the role of the CA's service")
	}
}

// Root is told whose CA it is, instead of leaving files there that the owner cannot
// read.
func TestAnotherUsersCA(t *testing.T) {
	needs.That(t, os.Geteuid() == 0, "only root can give a directory away")
	s := setUp(t, time.Now())
	s.Close()
	// A link of the owner's must not have root make a file where it leads.
	there := filepath.Join(t.TempDir(), "there")
	err := errors.Join(os.Chown(s.Dir(), 65534, -1), os.Remove(s.Path(lockName)), os.Symlink(there, s.Path(lockName)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := os.Lstat(there); err == nil {
			t.Error("a file was made behind a link of another user's")
		}
	}()
	const refusal = "belongs to another user: sudo -u nobody"
	if _, err := Lock(t.Context(), s.Dir()); err == nil || !strings.Contains(err.Error(), refusal) {
		t.Errorf("%v", err)
	}
	if err := os.Remove(s.Path(CertificateFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(t.Context(), s.Dir(), "example.org"); err == nil || !strings.Contains(err.Error(), refusal) {
		t.Errorf("create: %v", err)
	}
}

func FuzzRequestKey(f *testing.F) {
	f.Add([]byte("nonsense"))
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, newKey(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Fuzz(func(t *testing.T, der []byte) {
		got, err := requestKey(der)
		if (err == nil) != (got.key != nil && hashForm.MatchString(got.hash)) {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func FuzzTokens(f *testing.F) {
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"secret_sha256":"` + strings.Repeat("0", 64) + `","agent":"web-1","hosts":["web-1"],"lifetime_seconds":1,"expires":"2026-05-01T12:00:00Z"}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tokens, err := parseTokens(data)
		if err != nil {
			return
		}
		text, err := formatLines(tokens)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseTokens(text); err != nil || len(again) != len(tokens) {
			t.Errorf("%q became %q: %v", data, text, err)
		}
	})
}
