package supervisor

import (
	"context"
	"fmt"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Apply creates a service and starts its first generation, or records a changed
// specification for the next upgrade.
func (s *Supervisor) Apply(ctx context.Context, r ApplyRequest) (ApplyResult, error) {
	r.Spec = r.Spec.WithDefaults()
	if err := r.Spec.Validate(); err != nil {
		return ApplyResult{}, err
	}
	s.declare.Lock()
	defer s.declare.Unlock()
	if err := s.addressesFree(ctx, r.Spec); err != nil {
		return ApplyResult{}, err
	}
	adm, err := s.admitFirst(ctx, r.Spec, r.Caller, r.Signing)
	if err != nil {
		return ApplyResult{}, err
	}
	version, err := s.host.Vet(ctx, r.Spec)
	if err != nil {
		return ApplyResult{}, err
	}
	if o, err := s.find(r.Spec.Name); err == nil {
		return o.reapply(ctx, r, version)
	}
	return s.create(ctx, r, version, adm)
}

// addressesFree says whether no other service declares an address that meets
// one of these.
func (s *Supervisor) addressesFree(ctx context.Context, spec service.Spec) error {
	for _, o := range s.all() {
		if o.name == spec.Name {
			continue
		}
		var taken []service.Address
		if err := o.do(ctx, func() error { taken = o.declared(); return nil }); err != nil {
			return err
		}
		for _, sock := range spec.Sockets {
			for _, a := range taken {
				if sock.Address.Overlaps(a) {
					return fmt.Errorf("%w: %s of socket %q meets %s of service %q: two services cannot share an address",
						ErrAddressOverlap, sock.Address, sock.Name, a, o.name)
				}
			}
		}
	}
	return nil
}

// declared are all addresses that the recorded or a living specification names.
func (o *owner) declared() []service.Address {
	var out []service.Address
	for _, sock := range o.rec.Spec.Sockets {
		out = append(out, sock.Address)
	}
	for i := range o.rec.State.Generations {
		for _, sock := range o.specOf(&o.rec.State.Generations[i]).Sockets {
			out = append(out, sock.Address)
		}
	}
	return out
}

func (s *Supervisor) create(ctx context.Context, r ApplyRequest, version string, adm admission) (ApplyResult, error) {
	if r.ETag != "" {
		return ApplyResult{}, fmt.Errorf("%w: service %q does not exist, so it has no etag", ErrETagMismatch, r.Spec.Name)
	}
	if err := s.conflicts(ctx, r.Spec, nil); err != nil {
		return ApplyResult{}, err
	}
	rec := s.newRecord(r.Spec, r.Actor, adm)
	if r.DryRun {
		return ApplyResult{Status: Status{Name: r.Spec.Name, Spec: r.Spec, State: Running}, Created: true}, nil
	}
	var res ApplyResult
	err := s.found(ctx, rec, func(o *owner) error {
		o.rec.RecordedAt = o.wall()
		u, err := o.begin(begin{Caller: r.Caller, kind: lifecycle.KindCreate, spec: r.Spec, version: version, body: digest("apply", r.Spec), admission: adm})
		if err != nil {
			return err
		}
		o.report([]Event{{ServiceChanged: &ServiceChanged{Verb: "created", Actor: r.Actor, Reason: r.Comment}}})
		res = ApplyResult{Status: o.status(), Created: true, Upgrade: &u}
		return nil
	})
	return res, err
}

func (s *Supervisor) newRecord(spec service.Spec, actor string, adm admission) record {
	return record{
		Format: recordFormat, Name: spec.Name, BootID: s.host.BootID(), Spec: spec, Actor: actor,
		Signature: adm.signature, Floor: s.floor(spec.Name),
	}
}

// found adds a service with its first act; if that is refused, nothing is left of it.
func (s *Supervisor) found(ctx context.Context, rec record, first func(o *owner) error) error {
	o := s.add(rec)
	err := o.do(ctx, func() error { return o.attempt(func() error { return first(o) }) })
	if err != nil {
		o.cancel(ErrServiceNotFound)
		<-o.done
		s.drop(o.name)
	}
	return err
}

// conflicts says whether a foreign process holds one of the addresses.
func (s *Supervisor) conflicts(ctx context.Context, spec service.Spec, ours []Slot) error {
	for _, sock := range spec.Sockets {
		if err := s.host.Conflict(ctx, sock.Address, ours); err != nil {
			return err
		}
	}
	return nil
}

// reapply records a specification. What says how to end, restart and upgrade
// acts at once; the rest waits for the next upgrade.
func (o *owner) reapply(ctx context.Context, r ApplyRequest, version string) (ApplyResult, error) {
	var res ApplyResult
	err := o.do(ctx, func() error {
		return o.attempt(func() error {
			body := digest("apply", r.Spec)
			if q, err := o.repeated(r.RequestID, body); err != nil || q != nil {
				res.Status = o.status()
				return err
			}
			if !r.DryRun {
				if err := o.mayChange(nil); err != nil {
					return err
				}
			}
			if r.ETag != "" && r.ETag != service.ETag(o.rec.Spec) {
				return fmt.Errorf("%w: service %q was last recorded by %s; look at it and apply again", ErrETagMismatch, o.name, o.rec.Actor)
			}
			adm, err := o.sup.admitDeclared(&o.rec, r.Spec, r.Caller, r.Signing, o.wall())
			if err != nil {
				return err
			}
			res.Changes = service.Diff(o.rec.Spec, r.Spec)
			res.Warnings = o.addressWarnings(r.Spec)
			if r.DryRun {
				res.Status = o.status()
				return nil
			}
			return o.recordNew(r, version, body, adm, &res)
		})
	})
	return res, err
}

func (o *owner) recordNew(r ApplyRequest, version, body string, adm admission, res *ApplyResult) error {
	o.remember(r.RequestID, body, "")
	o.recordSpec(r.Spec, r.Actor)
	o.rec.Signature = adm.signature
	o.adoptPolicies(r.Spec)
	if err := o.save(); err != nil {
		return err
	}
	if len(res.Changes) > 0 {
		o.report([]Event{{ServiceChanged: &ServiceChanged{Verb: "recorded", Actor: r.Actor, Reason: r.Comment}}})
	}
	o.settle()
	if o.rec.unborn() {
		u, err := o.begin(begin{Caller: Caller{Actor: r.Actor, Comment: r.Comment}, kind: lifecycle.KindCreate, spec: r.Spec, version: version, admission: adm})
		if err != nil {
			return err
		}
		res.Upgrade = &u
	}
	res.Status = o.status()
	return nil
}

// adoptPolicies gives the living generations the policies of a specification.
func (o *owner) adoptPolicies(spec service.Spec) {
	for i := range o.rec.State.Generations {
		g := &o.rec.State.Generations[i]
		p := o.rec.generation(g.Number)
		if p == nil || p.Spec == nil {
			continue
		}
		own := *p.Spec
		own.Drain, own.Restart, own.Upgrade, own.KeepGenerations = spec.Drain, spec.Restart, spec.Upgrade, spec.KeepGenerations
		p.Spec = &own
		g.Policy = policyOf(own)
		if g.State == lifecycle.Active && !g.Policy.Alone {
			g.Alone = false
		}
	}
}

// addressWarnings says what changed addresses will mean.
func (o *owner) addressWarnings(spec service.Spec) []string {
	var out []string
	for _, sock := range o.rec.Spec.Sockets {
		if !declares(spec, sock.Address) {
			out = append(out, fmt.Sprintf("%s is no longer declared: after the next upgrade is promoted, connections to it are refused", sock.Address))
		}
	}
	return out
}

func declares(spec service.Spec, a service.Address) bool {
	for _, s := range spec.Sockets {
		if s.Address == a {
			return true
		}
	}
	return false
}

// policyOf is what of a specification decides the lifecycle.
func policyOf(s service.Spec) lifecycle.Policy {
	return lifecycle.Policy{
		ReadyTimeout: s.Readiness.Timeout,
		PatientDrain: s.Drain.Mode == service.DrainPatient,
		Patience:     s.Drain.Patience,
		DrainTimeout: s.Drain.Timeout,
		Restart: lifecycle.Restart{
			Always:    s.Restart.Policy == service.RestartAlways,
			OnFailure: s.Restart.Policy == service.RestartOnFailure,
			Backoff:   s.Restart.Backoff, MaxBackoff: s.Restart.MaxBackoff, Hold: s.Restart.Hold,
		},
		RollbackWindow: s.Upgrade.RollbackWindow,
		Checked:        s.Upgrade.Check != nil,
		MaxGenerations: s.Drain.MaxGenerations,
		Alone:          s.Upgrade.NoOverlap, OverlapLimit: s.Upgrade.OverlapLimit,
	}
}

func planOf(s service.Spec) lifecycle.Plan {
	p := lifecycle.Plan{
		Hold: s.Upgrade.Hold, MinConnections: s.Upgrade.MinConnections,
		StepTimeout: s.Upgrade.StepTimeout, Soak: s.Upgrade.Soak,
	}
	for _, step := range s.Upgrade.Steps {
		p.Steps = append(p.Steps, lifecycle.CanaryStep{Weight: step.Weight, Manual: step.Manual})
	}
	return p
}
