package signatures

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/gracefleet/gracefleet/internal/statement"
)

var (
	now = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	use = statement.Use{Service: "web", Artifact: "sha256:" + strings.Repeat("0a", 32), At: now}
)

func newKey(t *testing.T) (string, minisign.PrivateKey) {
	t.Helper()
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return public.String(), private
}

func sign(t *testing.T, key minisign.PrivateKey, change func(*statement.Statement)) []byte {
	t.Helper()
	s := statement.Statement{Service: "web", Platform: "linux/amd64", Artifact: use.Artifact, Release: 42, Expires: now.Add(time.Hour)}
	if change != nil {
		change(&s)
	}
	signed, err := statement.Sign(s, key)
	if err != nil {
		t.Fatal(err)
	}
	return signed.File()
}

func TestVerify(t *testing.T) {
	ours, key := newKey(t)
	_, stranger := newKey(t)
	old, oldKey := newKey(t)
	api, apiKey := newKey(t)
	p, err := New([]string{"web"}, []Key{
		{Key: ours}, {Key: old, NotAfter: "2026-11-30T23:59:59Z"}, {Key: api, Services: []string{"api-*"}},
	}, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		file []byte
		part string
	}{
		"as it should be":   {sign(t, key, nil), ""},
		"another's key":     {sign(t, stranger, nil), "key"},
		"a key of before":   {sign(t, oldKey, nil), "key"},
		"for other things":  {sign(t, apiKey, nil), "key"},
		"another service":   {sign(t, key, func(s *statement.Statement) { s.Service = "api" }), "service"},
		"another platform":  {sign(t, key, func(s *statement.Statement) { s.Platform = "linux/arm64" }), "platform"},
		"other bytes":       {sign(t, key, func(s *statement.Statement) { s.Artifact = "sha256:" + strings.Repeat("0b", 32) }), "artifact"},
		"expired":           {sign(t, key, func(s *statement.Statement) { s.Expires = now.Add(-time.Second) }), "expires"},
		"changed":           {[]byte(strings.Replace(string(sign(t, key, nil)), "release: 42", "release: 43", 1)), "signature"},
		"no signature":      {nil, "form"},
		"longer than files": {[]byte(strings.Repeat("x", statement.MaxFile+1)), "form"},
	} {
		got, err := p.Verify(row.file, use)
		var r *statement.Refusal
		switch {
		case row.part == "" && (err != nil || got.Release != 42):
			t.Errorf("%s: %+v, %v", name, got, err)
		case row.part != "" && (!errors.As(err, &r) || r.Part != row.part):
			t.Errorf("%s: %v, want a fault in %q", name, err, row.part)
		}
	}
}

// One key may count for this until then, and for that for ever.
func TestAKeyTwice(t *testing.T) {
	ours, key := newKey(t)
	p, err := New([]string{"*"}, []Key{
		{Key: ours, Services: []string{"api"}, NotAfter: "2026-01-01T00:00:00Z"},
		{Key: ours, Services: []string{"web"}},
	}, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Verify(sign(t, key, nil), use); err != nil {
		t.Error(err)
	}
	api := use
	api.Service = "api"
	if _, err := p.Verify(sign(t, key, func(s *statement.Statement) { s.Service = "api" }), api); err == nil {
		t.Error("it counts for a service for which it has ended")
	}
}

// An id is chosen by whoever makes the key: it proves nothing.
func TestAnIDProvesNothing(t *testing.T) {
	ours, key := newKey(t)
	_, stranger := newKey(t)
	text, err := stranger.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	same := withID(t, text, key.ID())
	p, err := New([]string{"web"}, []Key{{Key: ours}}, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Verify(sign(t, same, nil), use)
	var r *statement.Refusal
	if !errors.As(err, &r) || r.Part != "signature" {
		t.Errorf("a key of the same id: %v", err)
	}
	both, err := New([]string{"web"}, []Key{{Key: same.Public().(minisign.PublicKey).String()}, {Key: ours}}, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := both.Verify(sign(t, key, nil), use); err != nil {
		t.Errorf("a key is hidden by another of its id: %v", err)
	}
}

func TestRequired(t *testing.T) {
	p, err := New([]string{"web", "api-*"}, nil, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"web": true, "web2": false, "api-": true, "api-1": true, "api": false, "": false} {
		if p.Required(name) != want {
			t.Errorf("%q: required is %v", name, !want)
		}
	}
	if new(Policy).Required("web") {
		t.Error("no policy requires something")
	}
}

// What was taken away counts no more, whatever is left.
func TestNoKey(t *testing.T) {
	_, key := newKey(t)
	p, err := New([]string{"*"}, nil, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Verify(sign(t, key, nil), use); err == nil {
		t.Error("a signature counts without a key")
	}
}

func TestMistakesAreNamed(t *testing.T) {
	ours, _ := newKey(t)
	for words, row := range map[string]struct {
		require []string
		keys    []Key
	}{
		`require_signature: "we[b" is no pattern`:               {[]string{"we[b"}, nil},
		`require_signature: "" is no pattern`:                   {[]string{""}, nil},
		"signing_keys[0]: key: not a minisign public key":       {nil, []Key{{Key: "/etc/release.pub"}}},
		"signing_keys[1]: not_after: \"soon\" is no time":       {nil, []Key{{Key: ours}, {Key: ours, NotAfter: "soon"}}},
		"signing_keys[0]: not_after: \"2027-1-1\" is no time":   {nil, []Key{{Key: ours, NotAfter: "2027-1-1"}}},
		"signing_keys[0]: services: \"[\" is no pattern":        {nil, []Key{{Key: ours, Services: []string{"["}}}},
		"signing_keys[0]: key: not a minisign public key: want": {nil, []Key{{}}},
	} {
		if _, err := New(row.require, row.keys, "linux/amd64"); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
}

// A file that is read again and says the same is no change.
func TestEqualPoliciesAreEqual(t *testing.T) {
	ours, _ := newKey(t)
	other, _ := newKey(t)
	policy := func(key string) *Policy {
		p, err := New([]string{"web"}, []Key{{Key: key}}, "linux/amd64")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if !reflect.DeepEqual(policy(ours), policy(ours)) || reflect.DeepEqual(policy(ours), policy(other)) {
		t.Error("policies cannot be compared")
	}
}

// withID is a key under the id of another.
func withID(t *testing.T, text []byte, id uint64) minisign.PrivateKey {
	t.Helper()
	head, line, _ := strings.Cut(string(text), "\n")
	raw, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint64(raw[54:], id) // minisign(1), the secret key's format
	var key minisign.PrivateKey
	if err := key.UnmarshalText([]byte(head + "\n" + base64.StdEncoding.EncodeToString(raw))); err != nil {
		t.Fatal(err)
	}
	return key
}
