package supervisor

import (
	"crypto/rand"
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

func (o *owner) wouldBegin(b begin, changes []service.Change, forceOldest bool) (UpgradeResult, error) {
	if o.rec.State.Upgrading() {
		return UpgradeResult{}, o.explain(lifecycle.ErrUpgrading)
	}
	if limit := b.spec.Drain.MaxGenerations; limit > 0 && o.rec.State.Staying() >= limit && !forceOldest {
		return UpgradeResult{}, o.explain(lifecycle.ErrTooMany)
	}
	u := Upgrade{
		Service: o.name, State: lifecycle.UpgradeStarting, Kind: b.kind, From: o.activeNumber(), To: o.rec.State.LastNumber + 1,
		Artifact: b.spec.Artifact, Version: b.version, RollbackOf: b.target,
	}
	if b.plan != nil {
		u.Steps = b.plan.Steps
	}
	return UpgradeResult{Upgrade: u, Changes: changes}, nil
}
