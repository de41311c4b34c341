package supervisor

import (
	"fmt"

	"github.com/gracefleet/gracefleet/agent/internal/claim"
	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
)

// mayClaim refuses a claim that others stand against, or that could never be carried
// out, and says whether the service is as it would have it. A rollout that the host
// knows is let in also where upgrades are stopped: it may have to go back.
func (o *owner) mayClaim(r ClaimRequest) (unchanged bool, err error) {
	if err := o.rec.Rollouts.MayClaim(o.ask(r, "")); err != nil {
		return false, fmt.Errorf("service %q: %w", o.name, err)
	}
	known := o.rec.Rollouts.Find(r.Rollout)
	if known == nil && !goesBack(r.Change) {
		if err := o.sup.thawed(); err != nil {
			return false, err
		}
	}
	if o.rec.Rollouts.Held == nil && o.rec.State.Upgrading() {
		return false, o.busy()
	}
	if r.Change == nil || (known != nil && known.Change != nil) {
		return false, nil
	}
	return o.vetChange(r.Change, r.Caller)
}

// ask is the request as the book takes it.
func (o *owner) ask(r ClaimRequest, digest string) claim.Ask {
	return claim.Ask{
		Rollout: r.Rollout, SpecHash: r.SpecHash, Spec: digest, Change: r.Change, OnOrphan: r.OnOrphan, Driver: r.Driver, Lease: r.Lease,
		TakeOver: r.TakeOver, Epoch: r.Epoch, Actor: r.Actor, Admin: r.Admin, Comment: r.Comment, Predecessor: o.activeNumber(), LeaseEnd: o.when(o.leaseEnd),
	}
}

func goesBack(c *claim.Change) bool { return c != nil && c.Kind == claim.RollBack }

// busy names the upgrade in progress.
func (o *owner) busy() error {
	e := &inProgress{error: o.explain(lifecycle.ErrUpgrading), id: o.rec.State.Upgrade.ID}
	if p := o.rec.upgrade(e.id); p != nil {
		e.actor = p.Actor
	}
	return e
}

// inProgress is ErrUpgradeInProgress with whose it is.
type inProgress struct {
	error
	id, actor string
}

func (e *inProgress) Unwrap() error { return e.error }

// Metadata is whose upgrade it is, for programs.
func (e *inProgress) Metadata() map[string]string {
	return map[string]string{"upgrade": e.id, "actor": e.actor}
}

// vetChange says whether a service is as a change would have it, or why it can never
// be. What is missing may come.
func (o *owner) vetChange(c *claim.Change, by Caller) (unchanged bool, err error) {
	if c.Kind == claim.RollBack {
		a := o.rec.State.Active()
		if a == nil {
			return false, fmt.Errorf("%w: service %q has no active generation to go back from", ErrWrongState, o.name)
		}
		target, err := o.rollbackTarget(a.Number, RollbackRequest{Artifact: c.Artifact, Version: c.Version})
		return err == nil && o.sameOrigin(target, a.Number), err
	}
	if o.rec.State.Halted {
		return false, o.explain(lifecycle.ErrHalted)
	}
	r := o.upgradeOf(c, by)
	spec := o.wanted(r)
	if err := spec.Validate(); err != nil {
		return false, err
	}
	if err := mustOverlap(r, spec); err != nil {
		return false, err
	}
	if _, err := o.admitUpgrade(r, spec); err != nil {
		return false, err
	}
	res, _ := o.alreadyThere(r, spec)
	return res.Unchanged, nil
}

// mayChange refuses a change of the service to everyone but who drives the rollout that
// has it.
func (o *owner) mayChange(by *claim.Driver) error {
	var err error
	if by != nil {
		_, err = o.rec.Rollouts.Driven(*by)
	} else {
		err = o.rec.Rollouts.Refused()
	}
	if err != nil {
		return fmt.Errorf("service %q: %w", o.name, err)
	}
	return nil
}

// mayUpgrade is mayChange for what is stopped with all upgrades.
func (o *owner) mayUpgrade(by *claim.Driver) error {
	if err := o.mayChange(by); err != nil {
		return err
	}
	if by != nil && o.rec.State.Upgrading() {
		return o.busy()
	}
	return o.sup.thawed()
}
