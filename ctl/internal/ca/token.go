package ca

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"time"

	"github.com/gracefleet/gracefleet/internal/identity"
	"github.com/gracefleet/gracefleet/internal/wholefile"
)

const (
	// SecretSize is the length of a token's secret in bytes.
	SecretSize = 32
	// MaxTokenLifetime is how long a token may wait to be used.
	MaxTokenLifetime = 7 * day
	// keepTokens is how long a used or expired token is told from one that never was.
	keepTokens = 7 * day
)

var hashForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Token is what the CA keeps of a one-time join token: all but the secret.
type Token struct {
	Hash     string    `json:"secret_sha256"`
	Agent    string    `json:"agent"`
	Hosts    []string  `json:"hosts"`
	Lifetime int64     `json:"lifetime_seconds"` // of the certificate
	Expires  time.Time `json:"expires"`
	UsedAt   time.Time `json:"used_at,omitzero"`
	// Key and Certificate are those that it was used for, so that an answer that was
	// lost can be given again.
	Key         string `json:"key_sha256,omitempty"`
	Certificate []byte `json:"certificate,omitempty"`
	// BurntAt is when somebody came with another key.
	BurntAt time.Time `json:"burnt_at,omitzero"`
}

// Token makes a one-time token with which an agent gets its first certificate, and
// returns its secret. It takes the place of an unused one of the same agent.
func (s *Signer) Token(r Request, valid time.Duration) (secret []byte, t Token, err error) {
	if err := CheckName(r.Name); err != nil {
		return nil, t, err
	}
	if r.Role != identity.AgentRole || len(r.Hosts) == 0 {
		return nil, t, errors.New("tokens are for agents, which have hosts")
	}
	if valid < time.Second || valid > MaxTokenLifetime {
		return nil, t, fmt.Errorf("a token is valid for 1s to %s", FormatLifetime(MaxTokenLifetime))
	}
	if err := s.forget(r.Name); err != nil {
		return nil, t, err
	}
	tokens, err := s.readTokens()
	if err != nil {
		return nil, t, err
	}
	secret = make([]byte, SecretSize)
	if _, err := rand.Read(secret); err != nil {
		return nil, t, err
	}
	t = Token{
		Hash: hash(secret), Agent: r.Name, Hosts: r.Hosts, Lifetime: int64(r.Lifetime / time.Second),
		Expires: s.now().Add(valid).Truncate(time.Second).UTC(),
	}
	return secret, t, s.recordTokens(append(tokens, t))
}

// forget drops an agent's unused tokens, and those of all that are long over.
func (s *Signer) forget(agent string) error {
	tokens, err := s.readTokens()
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Clone(tokens), func(t Token) bool {
		return t.Agent == agent && t.UsedAt.IsZero() || s.now().Sub(t.Expires) > keepTokens
	})
	if len(kept) == len(tokens) {
		return nil
	}
	return s.recordTokens(kept)
}

func (s *Signer) readTokens() ([]Token, error) {
	path := s.Path(TokensFile)
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	tokens, err := parseTokens(data)
	if err != nil {
		return nil, fmt.Errorf("%s:%w: move the file away, all unused tokens go with it", path, err)
	}
	return tokens, nil
}

func (s *Signer) recordTokens(tokens []Token) error {
	data, err := formatLines(tokens)
	if err != nil {
		return err
	}
	if _, err := parseTokens(data); err != nil {
		return fmt.Errorf("%s would be damaged: %w", TokensFile, err)
	}
	return wholefile.Replace(s.Path(TokensFile), data, 0o600)
}

func parseTokens(data []byte) ([]Token, error) {
	return parseLines(data, func(_ int, t Token) error { return t.check() })
}

// check says what cannot be in a token's line.
func (t Token) check() error {
	if !hashForm.MatchString(t.Hash) {
		return errors.New("secret_sha256: 64 hexadecimal digits are expected")
	}
	if err := CheckName(t.Agent); err != nil {
		return err
	}
	if hosts, err := ParseHosts(t.Hosts); err != nil || len(hosts) == 0 || !slices.Equal(hosts, t.Hosts) {
		return fmt.Errorf("hosts %q are not as they are written", t.Hosts)
	}
	if t.Lifetime < 1 || t.Lifetime > int64(maxLifetime/time.Second) {
		return fmt.Errorf("lifetime_seconds %d is not possible", t.Lifetime)
	}
	for _, at := range []time.Time{t.Expires, t.UsedAt, t.BurntAt} {
		if at.Year() > 9999 || at.Location() != time.UTC {
			return fmt.Errorf("time %v is not in UTC", at)
		}
	}
	used := !t.UsedAt.IsZero()
	switch {
	case t.Expires.IsZero():
		return errors.New("expires is missing")
	case used != hashForm.MatchString(t.Key) || used != (len(t.Certificate) > 0):
		return errors.New("used_at, key_sha256 and certificate go together")
	case !used && !t.BurntAt.IsZero():
		return errors.New("burnt_at without used_at")
	}
	return nil
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
