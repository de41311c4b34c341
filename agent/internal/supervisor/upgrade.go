package supervisor

import (
	"context"
	"fmt"
	"strings"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Upgrade starts a new generation.
func (s *Supervisor) Upgrade(ctx context.Context, r UpgradeRequest) (UpgradeResult, error) {
	o, err := s.find(r.Service)
	if err != nil {
		return UpgradeResult{}, err
	}
	s.declare.Lock()
	defer s.declare.Unlock()
	var spec service.Spec
	var slots []Slot
	var active Slot
	var res UpgradeResult
	settled := false
	err = o.do(ctx, func() error {
		spec = o.wanted(r)
		if o.rec.State.Upgrading() || o.knows(r.RequestID) {
			// Nothing will start, and a slot that is being opened would look
			// like a foreign one.
			settled = true
			return o.attempt(func() error {
				res, err = o.upgrade(r, spec, "")
				return err
			})
		}
		if err := o.mayUpgrade(r.by); err != nil {
			return err
		}
		// Before a host looks into an archive that nobody has signed.
		if _, err := o.admitUpgrade(r, spec); err != nil {
			return err
		}
		slots = o.openSlots()
		if a := o.rec.State.Active(); a != nil && !r.Force {
			active = o.entry(a.Slot).slot
		}
		return nil
	})
	if err != nil || settled {
		return res, err
	}
	if err := mustOverlap(r, spec); err != nil {
		return UpgradeResult{}, err
	}
	if spec.Upgrade.NoOverlap {
		active = nil // they are never there both
	}
	version, err := o.vet(ctx, spec, slots, active)
	if err != nil {
		return UpgradeResult{}, err
	}
	err = o.do(ctx, func() error {
		return o.attempt(func() error {
			res, err = o.upgrade(r, spec, version)
			return err
		})
	})
	return res, err
}

// wanted is the specification that the request asks to run.
func (o *owner) wanted(r UpgradeRequest) service.Spec {
	spec := o.rec.Spec
	if r.Spec != nil {
		spec = *r.Spec
	}
	if a := o.rec.State.Active(); r.Restart && a != nil {
		if own, ok := o.rec.spec(a.Number); ok {
			spec = own
		}
	}
	if r.Artifact != "" {
		spec.Artifact = r.Artifact
	}
	return spec.WithDefaults()
}

func (o *owner) openSlots() []Slot {
	var out []Slot
	for _, sl := range o.slots {
		if sl.slot != nil {
			out = append(out, sl.slot)
		}
	}
	return out
}

// vet looks at everything that would make the new generation fail, before
// anything is touched. Memory must suffice for one more like the active one.
func (o *owner) vet(ctx context.Context, spec service.Spec, slots []Slot, active Slot) (version string, err error) {
	if err := spec.Validate(); err != nil {
		return "", err
	}
	if err := o.sup.addressesFree(ctx, spec); err != nil {
		return "", err
	}
	if version, err = o.host.Vet(ctx, spec); err != nil {
		return "", err
	}
	if err := o.sup.conflicts(ctx, spec, slots); err != nil {
		return "", err
	}
	if active != nil {
		if err := o.host.MemoryFor(active); err != nil {
			return "", err
		}
	}
	return version, nil
}

func (o *owner) upgrade(r UpgradeRequest, spec service.Spec, version string) (UpgradeResult, error) {
	ask := r
	ask.Caller, ask.DryRun = Caller{}, false
	body := digest("upgrade", ask)
	if q, err := o.repeated(r.RequestID, body); err != nil {
		return UpgradeResult{}, err
	} else if q != nil {
		return o.answered(q)
	}
	if err := o.mayUpgrade(r.by); err != nil {
		return UpgradeResult{}, err
	}
	if err := o.overlapsLive(spec); err != nil {
		return UpgradeResult{}, err
	}
	a := o.rec.State.Active()
	if r.Expected != 0 && o.activeNumber() != r.Expected {
		return UpgradeResult{}, fmt.Errorf("%w: service %q: generation %d was expected", ErrGenerationMismatch, o.name, r.Expected)
	}
	if res, done := o.alreadyThere(r, spec); done {
		return res, nil
	}
	adm, err := o.admitUpgrade(r, spec)
	if err != nil {
		return UpgradeResult{}, err
	}
	b := begin{Caller: r.Caller, kind: lifecycle.KindUpgrade, spec: spec, version: version, plan: planFor(r, spec), record: true, body: body, admission: adm, by: r.by}
	if r.Restart {
		b.kind, b.record = lifecycle.KindRestart, false
	}
	if a == nil {
		b.kind = lifecycle.KindCreate
	}
	var changes []service.Change
	if a != nil {
		if own, ok := o.rec.spec(a.Number); ok {
			changes = service.Diff(own, spec)
		}
	}
	if r.DryRun {
		return o.wouldBegin(b, changes, r.ForceOldest)
	}
	if err := o.makeRoom(r); err != nil {
		return UpgradeResult{}, err
	}
	u, err := o.begin(b)
	return UpgradeResult{Upgrade: u, Changes: changes}, err
}

func planFor(r UpgradeRequest, spec service.Spec) *lifecycle.Plan {
	p := planOf(spec)
	if r.NoSteps {
		p.Steps = nil
	}
	if r.Steps != nil {
		p.Steps = r.Steps
	}
	if r.Hold != nil {
		p.Hold = *r.Hold
	}
	if r.Soak != nil {
		p.Soak = *r.Soak
	}
	p.HoldSoak = r.holdSoak
	return &p
}

// alreadyThere answers an upgrade to what is active, or on its way.
func (o *owner) alreadyThere(r UpgradeRequest, spec service.Spec) (UpgradeResult, bool) {
	if r.Restart {
		return UpgradeResult{}, false
	}
	if u := o.rec.State.Upgrade; o.rec.State.Upgrading() {
		to, ok := o.rec.spec(u.To)
		if ok && service.ETag(to) == service.ETag(spec) {
			return UpgradeResult{Upgrade: o.showUpgrade(o.rec.upgrade(u.ID)), Attached: true}, true
		}
		return UpgradeResult{}, false
	}
	a := o.rec.State.Active()
	if a == nil || a.External { // that runs what somebody else chose
		return UpgradeResult{}, false
	}
	own, ok := o.rec.spec(a.Number)
	// What a host's own path holds may be another program by now.
	if !ok || service.ETag(own) != service.ETag(spec) || strings.HasPrefix(spec.Artifact, "host:") {
		return UpgradeResult{}, false
	}
	res := UpgradeResult{Unchanged: true}
	res.Upgrade = Upgrade{Service: o.name, State: lifecycle.UpgradeSucceeded, Kind: lifecycle.KindUpgrade, From: a.Number, To: a.Number, Artifact: spec.Artifact}
	return res, true
}

// answered is the answer to a request that was carried out before.
func (o *owner) answered(q *pastRequest) (UpgradeResult, error) {
	p := o.rec.upgrade(q.Upgrade)
	if p == nil {
		return UpgradeResult{}, fmt.Errorf("%w: the one that request %s began is no longer remembered", ErrUpgradeNotFound, q.ID)
	}
	return UpgradeResult{Upgrade: o.showUpgrade(p), Attached: true}, nil
}

// overlapsLive refuses an address that meets a live one without being equal: it
// could not be held back from users.
func (o *owner) overlapsLive(spec service.Spec) error {
	for i := range o.rec.State.Generations {
		g := &o.rec.State.Generations[i]
		if g.Slot == 0 {
			continue
		}
		for _, old := range o.specOf(g).Sockets {
			for _, sock := range spec.Sockets {
				if sock.Address != old.Address && sock.Address.Overlaps(old.Address) {
					return fmt.Errorf("%w: %s (%s) meets %s of generation %d: users would reach the new generation before it is ready",
						ErrAddressOverlap, sock.Address, sock.Name, old.Address, g.Number)
				}
			}
		}
	}
	return nil
}

// makeRoom ends the oldest draining generation when the request allows it.
func (o *owner) makeRoom(r UpgradeRequest) error {
	limit := o.rec.Spec.Drain.MaxGenerations
	if !r.ForceOldest || limit == 0 || o.rec.State.Staying() < limit {
		return nil
	}
	if err := o.command(lifecycle.Event{Type: lifecycle.EndOldest}); err != nil {
		return o.explain(err)
	}
	return nil
}
