package signatures

import (
	"errors"
	"fmt"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/statement"
)

// Policy is one host's. It is not changed once it is in use; the zero value
// requires nothing.
type Policy struct {
	require  []string
	keys     []trusted
	platform string
}

// New reads a policy: globs of the services that run signed artifacts alone, whose
// signatures count, and the host's platform, such as linux/amd64. The error names
// all that is wrong.
//
// Without a key nothing new runs as one of those services: so a host behaves whose
// last key was taken away.
func New(require []string, keys []Key, platform string) (*Policy, error) {
	p := &Policy{require: require, platform: platform}
	errs := []error{checkGlobs("require_signature", require)}
	for i, k := range keys {
		t, err := k.read()
		if err != nil {
			errs = append(errs, fmt.Errorf("signing_keys[%d]: %w", i, err))
		}
		p.keys = append(p.keys, t)
	}
	return p, errors.Join(errs...)
}

// Required says whether a service runs signed artifacts alone.
func (p *Policy) Required(name string) bool { return service.Matches(p.require, name) }

// Verify says whether a file is a statement that allows a service to run an
// artifact on this host, signed by a key that counts. An error is a
// *statement.Refusal. Use's platform is the host's.
func (p *Policy) Verify(file []byte, use statement.Use) (statement.Statement, error) {
	signed, err := statement.ParseSigned(file)
	if err != nil {
		return statement.Statement{}, err
	}
	if err := p.signer(signed, use); err != nil {
		return statement.Statement{}, err
	}
	use.Platform = p.platform
	return signed.Statement, signed.Allows(use)
}

// signer looks for a key that has signed and counts. A key may be there twice, for
// other services or times, and an id may be another's: what counts decides.
func (p *Policy) signer(signed statement.Signed, use statement.Use) error {
	var refused error = &statement.Refusal{Part: "key", Reason: fmt.Sprintf("the key %s is not among the signing_keys in graced.yaml", signed.Key)}
	for _, k := range p.keys {
		if k.id() != signed.Key {
			continue
		}
		if refused = signed.Verify(k.public); refused != nil {
			continue
		}
		if refused = k.counts(use.Service, use.At); refused == nil {
			return nil
		}
	}
	return refused
}

func checkGlobs(key string, globs []string) error {
	for _, glob := range globs {
		if err := service.CheckGlob(glob); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}
