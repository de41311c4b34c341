package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/gracefleet/gracefleet/agent/internal/claim"
	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// begin is an upgrade to start.
type begin struct {
	Caller
	kind    lifecycle.Kind
	spec    service.Spec
	version string
	plan    *lifecycle.Plan // instead of the specification's
	target  int             // generation that a rollback restores
	record  bool            // record the specification once promoted
	body    string          // digest of the request
	admission
	by *claim.Driver // of the rollout that asks; nil for an operator
	// external is the running program that is adopted.
	external *External
}

// begin starts an upgrade. It runs inside attempt.
func (o *owner) begin(b begin) (Upgrade, error) {
	plan := planOf(b.spec)
	if b.plan != nil {
		plan = *b.plan
	}
	if b.kind == lifecycle.KindCreate || b.kind == lifecycle.KindRollback || b.kind == lifecycle.KindAdopt {
		plan = lifecycle.Plan{}
	}
	id := newID()
	number := o.rec.State.LastNumber + 1
	up := pastUpgrade{
		Upgrade: lifecycle.Upgrade{ID: id}, Artifact: b.spec.Artifact, Version: b.version,
		Actor: b.Actor, Comment: b.Comment, RequestID: b.RequestID, CreatedAt: o.wall(),
		Release: b.Release, BreakGlass: b.brokeGlass,
	}
	if b.record {
		up.Record = &b.spec
	}
	if b.by != nil {
		up.Rollout = b.by.Rollout
		o.rec.Rollouts = o.rec.Rollouts.Begun(id, o.activeNumber(), o.wall())
	}
	o.rec.Upgrades = append(o.rec.Upgrades, up)
	if !o.rec.State.Revivable(b.target) { // else there is no new generation
		o.rec.Generations = append(o.rec.Generations, pastGeneration{
			Number: number, State: lifecycle.Starting, Artifact: b.spec.Artifact,
			Version: b.version, Spec: &b.spec, CreatedAt: o.wall(), RollbackOf: b.target, External: b.external,
			Release: b.Release,
		})
	}
	o.remember(b.RequestID, b.body, id)
	in := SlotIntent{Service: o.name, Slot: o.rec.State.LastSlot + 1, Generation: number, Spec: b.spec}
	if !o.rec.State.Upgrading() && b.external == nil {
		o.host.Prepare(in)
	}
	err := o.command(lifecycle.Event{Type: lifecycle.Begin, ID: id, Kind: b.kind, Plan: plan, Policy: policyOf(b.spec), Target: b.target})
	if err != nil || o.rec.State.LastNumber < number {
		o.host.Discard(in)
		o.spare = 0
	}
	if err != nil {
		return Upgrade{}, o.explain(err)
	}
	return o.showUpgrade(o.rec.upgrade(id)), nil
}

// activeNumber is the active generation's; 0 when there is none.
func (o *owner) activeNumber() int {
	if a := o.rec.State.Active(); a != nil {
		return a.Number
	}
	return 0
}

func newID() string { return strings.ToLower(rand.Text()[:12]) }

// explain puts the lifecycle's refusals into an operator's words.
func (o *owner) explain(err error) error {
	u := o.rec.State.Upgrade
	switch {
	case errors.Is(err, lifecycle.ErrUpgrading):
		who := ""
		if p := o.rec.upgrade(u.ID); p != nil && p.Actor != "" {
			who = " by " + p.Actor
		}
		return fmt.Errorf("%w: service %q, upgrade %s%s to generation %d: promote it, abort it, or wait", ErrUpgradeInProgress, o.name, u.ID, who, u.To)
	case errors.Is(err, lifecycle.ErrNotUpgrading):
		return fmt.Errorf("%w: service %q has no upgrade in progress%s", ErrWrongState, o.name, o.lastUpgrade())
	case errors.Is(err, lifecycle.ErrTooMany):
		return fmt.Errorf("%w: service %q: %s; wait for it, or end it with --force-oldest", ErrTooManyGenerations, o.name, o.oldest())
	case errors.Is(err, lifecycle.ErrHalted):
		return fmt.Errorf("%w: service %q is stopped: gracectl start %s", ErrWrongState, o.name, o.name)
	case errors.Is(err, lifecycle.ErrHasOwn):
		return fmt.Errorf("%w: service %q: %w: gracectl delete %s, or adopt the program under another name", ErrWrongState, o.name, err, o.name)
	case errors.Is(err, lifecycle.ErrAdopting), errors.Is(err, lifecycle.ErrNotAlone), errors.Is(err, lifecycle.ErrNotExternal),
		errors.Is(err, lifecycle.ErrNotReady), errors.Is(err, lifecycle.ErrNoStep), errors.Is(err, lifecycle.ErrRunning),
		errors.Is(err, lifecycle.ErrClosing), errors.Is(err, lifecycle.ErrNothingToStart), errors.Is(err, lifecycle.ErrNoneDraining):
		return fmt.Errorf("%w: service %q: %w", ErrWrongState, o.name, err)
	}
	return err
}

func (o *owner) lastUpgrade() string {
	u := o.rec.State.Upgrade
	if u == nil {
		return ""
	}
	if u.State == lifecycle.UpgradeSucceeded {
		return fmt.Sprintf("; the last one was promoted: gracectl rollback %s goes back", o.name)
	}
	return "; the last one has ended"
}

func (o *owner) oldest() string {
	for _, g := range o.rec.State.Generations {
		if g.State != lifecycle.Draining {
			continue
		}
		left := "an unknown number of"
		if v := o.live[g.Number]; v != nil && v.count != nil && v.count.Open >= 0 {
			left = fmt.Sprint(v.count.Open)
		}
		return fmt.Sprintf("%d are alive; the oldest, generation %d, is draining with %s connections", o.rec.State.Live(), g.Number, left)
	}
	return fmt.Sprintf("%d are alive", o.rec.State.Live())
}

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
	if r.Expected != 0 && (a == nil || a.Number != r.Expected) {
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

func (o *owner) wouldBegin(b begin, changes []service.Change, forceOldest bool) (UpgradeResult, error) {
	if o.rec.State.Upgrading() {
		return UpgradeResult{}, o.explain(lifecycle.ErrUpgrading)
	}
	if limit := b.spec.Drain.MaxGenerations; limit > 0 && o.rec.State.Staying() >= limit && !forceOldest {
		return UpgradeResult{}, o.explain(lifecycle.ErrTooMany)
	}
	u := Upgrade{
		Service: o.name, State: lifecycle.UpgradeStarting, Kind: b.kind, To: o.rec.State.LastNumber + 1,
		Artifact: b.spec.Artifact, Version: b.version, RollbackOf: b.target,
	}
	if a := o.rec.State.Active(); a != nil {
		u.From = a.Number
	}
	if b.plan != nil {
		u.Steps = b.plan.Steps
	}
	return UpgradeResult{Upgrade: u, Changes: changes}, nil
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
