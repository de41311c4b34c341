package rollout

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Action is what a rollout does to each host.
type Action string

// What can be rolled out.
const (
	// ActionUpgrade brings the release's artifact, definition, or both.
	ActionUpgrade Action = "upgrade"
	// ActionRestart runs the active generation again.
	ActionRestart Action = "restart"
	// ActionRollback goes back to the newest good generation with the release's
	// artifact or version, and to the one before where neither is said.
	ActionRollback Action = "rollback"
)

const (
	maxSteps     = 20
	maxPath      = 4096     // bytes of an artifact on the host
	maxSignature = 16 << 10 // bytes
)

// Release is what a host gets. The definition and the signature are whole, so that
// any host's copy of a Spec is enough to go on, also for hosts that come late.
type Release struct {
	// Artifact is sha256: and 64 hex digits, or host: and a path there; empty means
	// the one that the host has recorded.
	Artifact string `json:"artifact,omitempty"`
	// Version is where to go back to, instead of the artifact; ActionRollback alone.
	Version string `json:"version,omitempty"`
	// Definition is a gracefleet.v1.ServiceSpec in deterministic protobuf; empty means
	// the one that the host has recorded.
	Definition []byte `json:"definition,omitempty"`
	// Signature is the signed statement of the artifact; empty when there is none.
	Signature []byte `json:"signature,omitempty"`
}

// Options are how each host does it, where not as the service's definition says.
type Options struct {
	// Steps are shares of new connections that a candidate gets, in basis points and
	// rising; empty means the definition's.
	Steps []int `json:"steps,omitempty"`
	// NoSteps ignores the definition's.
	NoSteps bool `json:"no_steps,omitempty"`
	// Hold and Soak are how long each step and the soak last; nil means the
	// definition's.
	Hold *time.Duration `json:"hold_ns,omitempty"`
	Soak *time.Duration `json:"soak_ns,omitempty"`
	// Force starts although memory looks short.
	Force bool `json:"force,omitempty"`
}

var (
	digestForm = regexp.MustCompile(`\Asha256:[0-9a-f]{64}\z`)
	hostForm   = regexp.MustCompile(`\Ahost:/.`)
)

// validate holds a release to what an action does with it.
func (r Release) validate(a Action) error {
	switch {
	case r.Artifact != "" && !digestForm.MatchString(r.Artifact) && !hostForm.MatchString(r.Artifact):
		return fmt.Errorf("%s is not an artifact: want sha256: and 64 lowercase hex digits, or host: and an absolute path", quote(r.Artifact))
	case len(r.Artifact) > maxPath || len(r.Version) > maxText:
		return fmt.Errorf("an artifact or version is longer than %d or %d bytes", maxPath, maxText)
	case !printable(r.Artifact) || !printable(r.Version):
		return errors.New("an artifact or version has what cannot be printed")
	case len(r.Signature) > maxSignature:
		return fmt.Errorf("a signature of %d bytes: want at most %d", len(r.Signature), maxSignature)
	case a != ActionRollback && r.Version != "":
		return fmt.Errorf("%s to version %s: only a rollback finds a version on the host", a, quote(r.Version))
	case r.Version != "" && r.Artifact != "":
		return errors.New("a rollback to a version and to an artifact: want one of them")
	case a != ActionUpgrade && (len(r.Definition) > 0 || len(r.Signature) > 0):
		return fmt.Errorf("a %s has no definition and no signature of its own", a)
	case a == ActionRestart && r.Artifact != "":
		return errors.New("a restart has no artifact of its own: it runs the active generation again")
	}
	return nil
}

func (a Action) validate() error {
	switch a {
	case ActionUpgrade, ActionRestart, ActionRollback:
		return nil
	}
	return fmt.Errorf("action %s: want upgrade, restart or rollback", quote(string(a)))
}

func (o Options) validate() error {
	if len(o.Steps) > maxSteps || o.NoSteps && len(o.Steps) > 0 {
		return fmt.Errorf("%d steps: want at most %d, and none where they are ignored", len(o.Steps), maxSteps)
	}
	if !slices.IsSorted(o.Steps) || len(slices.Compact(slices.Clone(o.Steps))) != len(o.Steps) {
		return errors.New("steps must rise")
	}
	for _, weight := range o.Steps {
		if weight < 1 || weight >= all {
			return fmt.Errorf("a step of %d basis points: want 1 to %d", weight, all-1)
		}
	}
	for _, d := range []*time.Duration{o.Hold, o.Soak} {
		if d != nil && (*d < 0 || *d > maxWait) {
			return fmt.Errorf("a hold or soak of %v: want at most %v", *d, maxWait)
		}
	}
	return nil
}
