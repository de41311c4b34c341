package supervisor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/signatures"
	"github.com/gracefleet/gracefleet/internal/statement"
)

// admission is what an artifact was let in by.
type admission struct {
	Release
	signature  []byte // to be recorded with a specification that is not run yet
	brokeGlass bool
}

// SetSignatures changes which services run signed artifacts alone, and whose
// signatures count, from the next request on. What was let in before stays.
func (s *Supervisor) SetSignatures(p *signatures.Policy) {
	s.signatures.Store(p)
	for _, o := range s.all() {
		o.post(o.ctx, o.publish)
	}
}

// Signatures is the policy that holds now. It is not changed.
func (s *Supervisor) Signatures() *signatures.Policy { return s.signatures.Load() }

// admit says whether an artifact may become the service's next generation. What
// runs now, or would after a start, needs nobody's word: a restart is no release.
// Everything else needs a statement that counts at this moment, also one that was
// recorded before.
func (s *Supervisor) admit(rec *record, spec service.Spec, brought Signing, now time.Time) (admission, error) {
	policy := s.signatures.Load()
	required := policy.Required(rec.Name)
	if required && strings.HasPrefix(spec.Artifact, service.HostArtifact) {
		return admission{}, fmt.Errorf("%w: service %q: what is at %s on the day is not known before, so nobody can have signed it: push the program, signed",
			ErrSignatureRequired, rec.Name, spec.Artifact)
	}
	if p := rec.current(); p != nil && p.Artifact == spec.Artifact {
		return admission{Release: p.Release}, nil
	}
	if !required {
		return admission{}, nil
	}
	file := brought.Signature
	if len(file) == 0 && spec.Artifact == rec.Spec.Artifact {
		file = rec.Signature
	}
	if len(file) == 0 {
		return admission{}, fmt.Errorf("%w: service %q, artifact %s: sign it with gracectl sign and give the file with --signature",
			ErrSignatureRequired, rec.Name, spec.Artifact)
	}
	stated, err := policy.Verify(file, statement.Use{Service: rec.Name, Artifact: spec.Artifact, At: now})
	if err != nil {
		return admission{}, fmt.Errorf("%w: service %q: %w", ErrSignatureRefused, rec.Name, err)
	}
	below := stated.Release < rec.Floor
	if below && !brought.BreakGlass {
		return admission{}, &belowFloor{service: rec.Name, release: stated.Release, floor: rec.Floor}
	}
	return admission{Release: Release{Number: stated.Release, Key: stated.Key}, signature: file, brokeGlass: below}, nil
}

// current is the generation that is active, or that a start would bring back; nil
// when there is none, and for a program that was adopted, whose artifact has not run.
func (r *record) current() *pastGeneration {
	n := r.State.Promoted
	if a := r.State.Active(); a != nil {
		n = a.Number
	}
	p := r.generation(n)
	if p != nil && p.External != nil && !p.External.Replaced {
		return nil
	}
	return p
}

// unborn says whether the service has yet to run for the first time.
func (r *record) unborn() bool {
	return r.State.Live() == 0 && !r.State.Halted && r.State.Promoted == 0
}

// mayDeclare refuses a specification that runs something else beside the artifact,
// or otherwise, unless the host's root wants it: with a command or a library of their
// choice nobody would need an artifact.
func (s *Supervisor) mayDeclare(rec *record, spec service.Spec, by Caller) error {
	if by.Root || !s.signatures.Load().Required(rec.Name) || service.SameProgram(rec.Spec, spec) {
		return nil
	}
	return fmt.Errorf("%w: service %q runs signed artifacts alone, so what runs them, and how, is declared as root on the host: "+
		"only artifact, sockets, upgrade without its check, drain, restart and keep_generations may change from elsewhere", ErrNotRoot, rec.Name)
}

// admitUpgrade is admit for an upgrade, which may declare a specification.
func (o *owner) admitUpgrade(r UpgradeRequest, spec service.Spec) (admission, error) {
	if r.Spec != nil {
		if err := o.sup.mayDeclare(&o.rec, spec, r.Caller); err != nil {
			return admission{}, err
		}
	}
	return o.sup.admit(&o.rec, spec, r.Signing, o.wall())
}

// admitDeclared is admit for a specification that is being declared. One of the
// recorded artifact that starts nothing needs no signature: it is asked for later.
func (s *Supervisor) admitDeclared(rec *record, spec service.Spec, by Caller, brought Signing, now time.Time) (admission, error) {
	if err := s.mayDeclare(rec, spec, by); err != nil {
		return admission{}, err
	}
	if len(brought.Signature) == 0 && spec.Artifact == rec.Spec.Artifact && !rec.unborn() {
		return admission{signature: rec.Signature}, nil
	}
	return s.admit(rec, spec, brought, now)
}

// admitFirst is admitDeclared before anything is looked at that the specification
// names; what was asked for before was let in then. Where the service exists already,
// its owner decides once more, together with what follows.
func (s *Supervisor) admitFirst(ctx context.Context, spec service.Spec, by Caller, brought Signing) (adm admission, err error) {
	o, err := s.find(spec.Name)
	if err != nil {
		return s.admitDeclared(&record{Name: spec.Name, Floor: s.floor(spec.Name)}, spec, by, brought, time.Now())
	}
	return admission{}, o.do(ctx, func() error {
		if o.knows(by.RequestID) {
			return nil
		}
		_, err := s.admitDeclared(&o.rec, spec, by, brought, o.wall())
		return err
	})
}
