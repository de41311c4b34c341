package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gracefleet/gracefleet/internal/identity"
)

// ServerLifetime is how long the certificate of the CA's own service is valid.
const ServerLifetime = day

// RequestError says what is wrong with a certificate request.
type RequestError struct{ why string }

// Error is for whoever has made the request.
func (e *RequestError) Error() string { return "the certificate request " + e.why }

// TokenError says why a token does not count: to the CA's own log. Whoever brought
// it is told no more than Error does.
type TokenError struct {
	Agent string // empty when the token is not known
	Why   string
	// Alarm says that two have the token.
	Alarm bool
}

// Error tells nothing of what the CA knows.
func (e *TokenError) Error() string {
	return "the join token does not count: it was used, has expired, or is not of this CA; gracectl cert token makes another"
}

// Joined is the first certificate of an agent.
type Joined struct {
	Entry
	Certificate *x509.Certificate
	Again       bool // the same was given before
}

// Join uses a token up and makes a certificate for the key of a request. The same
// key gets the same certificate again while the token lasts; another key burns the
// token.
func (s *Signer) Join(secret, request []byte) (*Joined, error) {
	key, err := requestKey(request)
	if err != nil {
		return nil, err
	}
	tokens, err := s.readTokens()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(tokens, func(t Token) bool { return t.Hash == hash(secret) })
	if i < 0 {
		return nil, &TokenError{Why: "it is not known"}
	}
	t := &tokens[i]
	switch {
	case s.now().After(t.Expires):
		return nil, &TokenError{Agent: t.Agent, Why: "it has expired"}
	case !t.BurntAt.IsZero():
		return nil, &TokenError{Agent: t.Agent, Why: "it was burnt: two had it"}
	case t.UsedAt.IsZero():
		return s.use(tokens, i, key)
	case t.Key != key.hash:
		t.BurntAt = s.now().Truncate(time.Second).UTC()
		if err := s.recordTokens(tokens); err != nil {
			return nil, err
		}
		return nil, &TokenError{Agent: t.Agent, Why: "it was used with another key: two have it", Alarm: true}
	}
	return s.again(t)
}

// use writes the certificate to the journal, then with it that the token is used up,
// and only then lets go of it. Cut off in between, the token is still good and the
// journal has a certificate that nobody holds.
func (s *Signer) use(tokens []Token, i int, key requested) (*Joined, error) {
	t := &tokens[i]
	cert, entry, err := s.enrol(Request{
		Role: identity.AgentRole, Name: t.Agent, Hosts: t.Hosts, Lifetime: time.Duration(t.Lifetime) * time.Second,
	}, key.key)
	if err != nil {
		return nil, err
	}
	t.UsedAt, t.Key, t.Certificate = s.now().Truncate(time.Second).UTC(), key.hash, cert.Raw
	if err := s.recordTokens(tokens); err != nil {
		return nil, err
	}
	return &Joined{Entry: entry, Certificate: cert}, nil
}

// again gives the answer that may have been lost.
func (s *Signer) again(t *Token) (*Joined, error) {
	cert, err := x509.ParseCertificate(t.Certificate)
	if err != nil {
		return nil, fmt.Errorf("%s: the certificate of %s: %w", s.Path(TokensFile), t.Agent, err)
	}
	id, err := IdentityOf(cert)
	if err != nil {
		return nil, err
	}
	at, _, err := s.Revocation(cert.SerialNumber)
	if err != nil {
		return nil, err
	}
	if !at.IsZero() {
		return nil, &TokenError{Agent: t.Agent, Why: "what it was used for was revoked"}
	}
	return &Joined{Entry: entryOf(cert, id), Certificate: cert, Again: true}, nil
}

// RenewAgent makes a certificate for the key of a request, with identity, hosts and
// lifetime of an agent's old one, which must be valid. That stays so until its end.
func (s *Signer) RenewAgent(old *x509.Certificate, request []byte) (*x509.Certificate, error) {
	key, err := requestKey(request)
	if err != nil {
		return nil, err
	}
	r, err := s.renewal(old)
	if err != nil {
		return nil, err
	}
	if r.Role != identity.AgentRole {
		return nil, errors.New("it is no agent's: gracectl cert renew does it for others")
	}
	if state := validity(old.NotBefore, old.NotAfter, s.now()); state != Valid {
		return nil, fmt.Errorf("it is %s", state)
	}
	if key.key.Equal(old.PublicKey) {
		return nil, &RequestError{"has the key of the old certificate: each has a key of its own"}
	}
	cert, _, err := s.enrol(r, key.key)
	return cert, err
}

// enrol certifies a key that the CA does not have. Nobody gets a certificate that
// the journal does not know.
func (s *Signer) enrol(r Request, key *ecdsa.PublicKey) (*x509.Certificate, Entry, error) {
	now := s.now()
	start, end, err := s.period(r.Lifetime, now)
	if err != nil {
		return nil, Entry{}, err
	}
	id := identity.ID{TrustDomain: s.trustDomain, Role: r.Role, Name: r.Name}
	cert, err := s.certify(id, r.Hosts, key, start, end, now)
	if err != nil {
		return nil, Entry{}, err
	}
	entry := entryOf(cert, id)
	return cert, entry, s.record(append(slices.Clip(s.journal), entry))
}

// ServerCertificate makes the certificate, with its key, by which the CA's own
// service is known. The journal does not have it: it never leaves the process that
// could sign anything.
func (s *Signer) ServerCertificate() (*tls.Certificate, error) {
	now := s.now()
	start, end, err := s.period(ServerLifetime, now)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	id := identity.ID{TrustDomain: s.trustDomain, Role: identity.AuthorityRole, Name: identity.AuthorityName}
	cert, err := s.certify(id, nil, &key.PublicKey, start, end, now)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw, s.cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// requested is the key of a request.
type requested struct {
	key  *ecdsa.PublicKey
	hash string // by which it is known again
}

// requestKey reads a request, which must be signed by its own key. Whatever else it
// says is not looked at.
func requestKey(der []byte) (requested, error) {
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return requested{}, &RequestError{"cannot be read: " + err.Error()}
	}
	key, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return requested{}, &RequestError{"has a key of another kind than ECDSA P-256"}
	}
	if err := r.CheckSignature(); err != nil {
		return requested{}, &RequestError{"is not signed by its own key"}
	}
	return requested{key: key, hash: hash(r.RawSubjectPublicKeyInfo)}, nil
}

// KeyPin is what a join token knows the CA by: the SHA-256 of its public key.
func (a *Authority) KeyPin() [32]byte { return sha256.Sum256(a.cert.RawSubjectPublicKeyInfo) }
