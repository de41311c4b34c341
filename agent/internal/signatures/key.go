package signatures

import (
	"errors"
	"fmt"
	"time"

	"aead.dev/minisign"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/statement"
)

// Key is a public key that counts, as it is written down.
type Key struct {
	// Key is the line of a minisign public key, RW...
	Key string `yaml:"key"`
	// Services are globs of those for which it counts (path.Match); none means all.
	Services []string `yaml:"services"`
	// NotAfter is when it stops to count, as RFC 3339 has it; empty means never.
	NotAfter string `yaml:"not_after"`
}

// trusted is a key that was understood.
type trusted struct {
	public   minisign.PublicKey
	services []string
	notAfter time.Time // zero: no end
}

func (k Key) read() (trusted, error) {
	public, err := statement.ParseKey(k.Key)
	if err != nil {
		err = fmt.Errorf("key: %w", err)
	}
	t := trusted{public: public, services: k.Services}
	if k.NotAfter != "" {
		var bad error
		if t.notAfter, bad = time.Parse(time.RFC3339, k.NotAfter); bad != nil {
			err = errors.Join(err, fmt.Errorf("not_after: %q is no time: write 2027-01-31T12:00:00Z", k.NotAfter))
		}
	}
	return t, errors.Join(err, checkGlobs("services", k.Services))
}

// counts says whether the key may sign for a service at a time.
func (t trusted) counts(name string, at time.Time) error {
	switch {
	case len(t.services) > 0 && !service.Matches(t.services, name):
		return &statement.Refusal{Part: "key", Reason: fmt.Sprintf("signing_keys in graced.yaml has the key %s for other services", t.id())}
	case !t.notAfter.IsZero() && at.After(t.notAfter):
		return &statement.Refusal{Part: "key", Reason: fmt.Sprintf("by signing_keys in graced.yaml the key %s has not counted since %s", t.id(), t.notAfter.Format(time.RFC3339))}
	}
	return nil
}

func (t trusted) id() string { return statement.FormatKey(t.public.ID()) }
