package rollout

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// specVersion is the form of an encoded Spec.
const specVersion = 1

const (
	// maxSpec bounds the bytes of an encoded Spec: with it a request is within the
	// 1 MiB that agents take. Ten thousand hosts need about half of it.
	maxSpec = 1000 << 10
	maxText = 1000 // bytes of an actor, a reason, a request id
)

// MaxReleases is how many ways a rollout's hosts may differ in what they get.
const MaxReleases = 100

// MaxGates is how many hosts are asked for the first claim before the targets are.
const MaxGates = 8

// Request is who asked for a rollout, and why.
type Request struct {
	ID     string `json:"id"`
	Actor  string `json:"actor"`
	Reason string `json:"reason,omitempty"`
}

// Spec is a rollout as it was decided, once and for all. Every target stores it, so
// that anyone can go on with it from any of them.
type Spec struct {
	Version  int       `json:"version"`
	Service  string    `json:"service"`
	Action   Action    `json:"action"`
	Releases []Release `json:"releases"`
	Options  Options   `json:"options"`
	Plan     Plan      `json:"plan"`
	Policy   Policy    `json:"policy"`
	// Gates are the first hosts, in the order of their names, of all that the
	// inventory has for the service, targets or not: whoever claims the first of them
	// that answers may go on, so that one of two operators wins, whatever each limited
	// the targets to.
	Gates   []string `json:"gates"`
	Request Request  `json:"request"`
}

// NewSpec is a rollout of which all but the version was said. Of the gates, the hosts
// that the inventory has for the service, the first MaxGates by name are kept.
func NewSpec(s Spec) (Spec, error) {
	s.Version = specVersion
	s.Gates = slices.Compact(slices.Sorted(slices.Values(s.Gates)))
	s.Gates = s.Gates[:min(len(s.Gates), MaxGates)]
	return s, s.validate()
}

// Encode is the one form of a spec in bytes.
func (s Spec) Encode() ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(s)
	if len(data) > maxSpec {
		return nil, fmt.Errorf("rollout of %s: %d bytes, and hosts store at most %d: roll out to fewer hosts at once", s.Service, len(data), maxSpec)
	}
	return data, err
}

// Decode reads what Encode wrote, and nothing else: what it does not know, it would
// not do.
func Decode(data []byte) (Spec, error) {
	if len(data) > maxSpec {
		return Spec{}, fmt.Errorf("rollout of %d bytes: at most %d are read", len(data), maxSpec)
	}
	var form struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &form); err != nil {
		return Spec{}, fmt.Errorf("rollout: %w", err)
	}
	if form.Version > specVersion {
		return Spec{}, fmt.Errorf("rollout of form %d: this program knows form %d; a newer gracectl is needed", form.Version, specVersion)
	}
	var s Spec
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return Spec{}, fmt.Errorf("rollout: %w", err)
	}
	again, err := s.Encode()
	if err != nil {
		return Spec{}, err
	}
	if !bytes.Equal(again, data) {
		return Spec{}, errors.New("rollout: not in the one form that it has")
	}
	return s, nil
}

// Hash names what is to be done, whoever asked and why, and whatever other hosts the
// inventory has: a command whose spec has the hash of a rollout that is under way is
// about that rollout, and attaches. The spec must be valid.
func (s Spec) Hash() string {
	s.Request, s.Gates = Request{}, nil
	// Numbers, texts and lists of them: there is nothing that has no form.
	data, _ := json.Marshal(s)
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ID names the rollout: the same request for the same thing is the same rollout,
// however often it is sent.
func (s Spec) ID() string {
	sum := sha256.Sum256([]byte(s.Hash() + "\n" + s.Request.ID))
	return "r-" + hex.EncodeToString(sum[:6])
}

var serviceForm = regexp.MustCompile(`\A[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?\z`)

func (s Spec) validate() error {
	switch {
	case s.Version != specVersion:
		return fmt.Errorf("rollout of form %d: want %d", s.Version, specVersion)
	case !serviceForm.MatchString(s.Service):
		return fmt.Errorf("rollout of service %s: not a service's name", quote(s.Service))
	}
	for _, check := range []func() error{s.Action.validate, s.validateReleases, s.Options.validate, s.Plan.validate, s.Policy.validate, s.validateGates, s.Request.validate} {
		if err := check(); err != nil {
			return fmt.Errorf("rollout of %s: %w", s.Service, err)
		}
	}
	return nil
}

func (s Spec) validateReleases() error {
	if len(s.Releases) == 0 || len(s.Releases) > MaxReleases {
		return fmt.Errorf("%d releases: want 1 to %d", len(s.Releases), MaxReleases)
	}
	for _, r := range s.Releases {
		if err := r.validate(s.Action); err != nil {
			return err
		}
	}
	for _, t := range s.Plan.Targets {
		if t.Release < 0 || t.Release >= len(s.Releases) {
			return fmt.Errorf("host %s gets release %d of %d", t.Name, t.Release, len(s.Releases))
		}
	}
	return nil
}

func (s Spec) validateGates() error {
	if len(s.Gates) == 0 || len(s.Gates) > MaxGates {
		return fmt.Errorf("%d hosts to claim first: want 1 to %d", len(s.Gates), MaxGates)
	}
	for i, name := range s.Gates {
		if err := checkName(name); err != nil {
			return err
		}
		if i > 0 && s.Gates[i-1] >= name {
			return fmt.Errorf("hosts to claim first: %s after %s: want them by name", name, s.Gates[i-1])
		}
	}
	return nil
}

func (r Request) validate() error {
	switch {
	case r.ID == "" || r.Actor == "":
		return errors.New("nobody asked for it: want a request id and an actor")
	case len(r.ID) > maxText || len(r.Actor) > maxText || len(r.Reason) > maxText:
		return fmt.Errorf("request id, actor or reason is longer than %d bytes", maxText)
	case !printable(r.ID) || !printable(r.Actor) || !printable(r.Reason):
		return errors.New("request id, actor or reason has what cannot be printed")
	}
	return nil
}
