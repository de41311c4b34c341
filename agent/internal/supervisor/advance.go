package supervisor

import (
	"context"
	"errors"
	"fmt"

	"github.com/gracefleet/gracefleet/agent/internal/claim"
	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Step is what a driver has a host do. The numbers are those of the contract.
type Step uint8

// The steps.
const (
	StepUpgrade Step = 1
	StepPromote Step = 2
	StepUndo    Step = 3
	StepReject  Step = 4
)

// AdvanceRequest has a host do something for a rollout.
type AdvanceRequest struct {
	Caller
	claim.Driver
	Service string
	Step    Step
}

// AdvanceRollout has a host begin its upgrade, promote it, fail it, or go back. Once
// more is harmless: what was begun is in the claim by the same write.
func (s *Supervisor) AdvanceRollout(ctx context.Context, r AdvanceRequest) (Rollout, error) {
	o, err := s.find(r.Service)
	if err != nil {
		return Rollout{}, err
	}
	if r.Step == StepUpgrade {
		err = s.beginRollout(ctx, o, r)
	} else {
		err = o.do(ctx, func() error {
			if err := o.drive(r.Driver); err != nil {
				return err
			}
			return o.attempt(func() error { return o.advance(r) })
		})
	}
	if err != nil {
		return Rollout{}, err
	}
	return o.rollout(ctx, r.Rollout)
}

// beginRollout begins what the claim has the host do. What it can never do, it has
// failed at.
func (s *Supervisor) beginRollout(ctx context.Context, o *owner, r AdvanceRequest) error {
	var c claim.Claim
	err := o.do(ctx, func() error {
		if err := o.drive(r.Driver); err != nil {
			return err
		}
		c = *o.rec.Rollouts.Held
		return o.mayBegin(&c)
	})
	if err != nil || !c.Progress.Waiting() {
		return err
	}
	res, err := s.carryOut(ctx, o, &c, r.Driver)
	switch {
	case err == nil && !res.Unchanged:
		return nil
	case err == nil:
		return o.settleClaim(ctx, r.Driver, claim.Unchanged, "", "")
	case final(err) == "":
		return err
	}
	return o.settleClaim(ctx, r.Driver, claim.Failed, final(err), err.Error())
}

// mayBegin refuses to begin while it cannot be known whether that would succeed.
func (o *owner) mayBegin(c *claim.Claim) error {
	switch {
	case !c.Progress.Waiting():
		return nil // it has begun, or never will
	case c.Change == nil:
		return fmt.Errorf("%w: service %q: the rollout was claimed without a change for this host", ErrWrongState, o.name)
	case o.rec.State.Upgrading():
		return o.busy()
	case goesBack(c.Change):
		return nil
	}
	if missing := o.missing(c); len(missing) > 0 {
		return fmt.Errorf("%w: service %q lacks %v for its rollout: push it first", ErrArtifactNotFound, o.name, missing)
	}
	return o.sup.thawed()
}

func (s *Supervisor) carryOut(ctx context.Context, o *owner, c *claim.Claim, d claim.Driver) (UpgradeResult, error) {
	by := Caller{Actor: c.Actor, Comment: c.Comment, Root: c.Change.Root}
	if goesBack(c.Change) {
		return s.Rollback(ctx, RollbackRequest{Caller: by, Service: o.name, Artifact: c.Change.Artifact, Version: c.Change.Version, by: &d})
	}
	r := o.upgradeOf(c.Change, by)
	r.by = &d
	return s.Upgrade(ctx, r)
}

// upgradeOf is the upgrade that a change asks for.
func (o *owner) upgradeOf(c *claim.Change, by Caller) UpgradeRequest {
	return UpgradeRequest{
		Caller: by, Signing: Signing{Signature: c.Signature}, Service: o.name, Artifact: c.Artifact, Spec: c.Spec,
		Restart: c.Kind == claim.Restart, Steps: c.Steps, NoSteps: c.NoSteps, Hold: c.Hold, Soak: c.Soak, Force: c.Force,
		holdSoak: c.HoldSoak,
	}
}

// settleClaim notes how the host is where no upgrade says so.
func (o *owner) settleClaim(ctx context.Context, d claim.Driver, p claim.Progress, why lifecycle.Reason, message string) error {
	return o.do(ctx, func() error {
		if err := o.drive(d); err != nil {
			return err
		}
		return o.attempt(func() error {
			o.rec.Rollouts = o.rec.Rollouts.Settle(p, why, message, o.wall())
			return o.keepClaim()
		})
	})
}

// advance does every step but the first. It runs inside attempt.
func (o *owner) advance(r AdvanceRequest) error {
	c := o.rec.Rollouts.Held
	switch {
	case c.Progress.Over():
		return nil // nothing more comes of it
	case r.Step == StepUndo:
		return o.undo(r)
	case r.Step == StepPromote && c.Progress == claim.Upgraded:
		return nil
	case r.Step == StepPromote && c.Progress == claim.Soaking:
		return o.command(lifecycle.Event{Type: lifecycle.Promote})
	case r.Step == StepReject && (c.Progress == claim.Upgrading || c.Progress == claim.Soaking):
		return o.command(lifecycle.Event{
			Type: lifecycle.Fault, Generation: o.rec.State.Upgrade.To, Reason: lifecycle.ReasonCheckFailed, Message: saying("turned away by the rollout", r.Comment),
		})
	}
	return fmt.Errorf("%w: service %q is not proving a new generation of rollout %s", ErrWrongState, o.name, r.Rollout)
}

func saying(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

// undo has the host go back, from wherever it is. It runs inside attempt.
func (o *owner) undo(r AdvanceRequest) error {
	c := o.rec.Rollouts.Held
	if c.Undo {
		return nil
	}
	o.rec.Rollouts = o.rec.Rollouts.Undo()
	switch c.Progress {
	case claim.Upgrading, claim.Soaking:
		return o.command(lifecycle.Event{Type: lifecycle.Abort, Message: saying("taken back by the rollout", r.Comment)})
	case claim.Upgraded:
		return o.goBack(r)
	}
	return o.keepClaim() // nothing has begun
}

// goBack begins the rollback of a host that was upgraded.
func (o *owner) goBack(r AdvanceRequest) error {
	c := o.rec.Rollouts.Held
	res, err := UpgradeResult{}, o.mayGoBack(c)
	if err == nil {
		err = o.attempt(func() (err error) {
			res, err = o.rollback(RollbackRequest{
				Caller: Caller{Actor: c.Actor, Comment: r.Comment}, Service: o.name, Generation: c.Predecessor, by: &r.Driver,
			})
			return err
		})
	}
	switch {
	case err == nil && !res.Unchanged:
		return nil
	case err == nil:
		o.rec.Rollouts = o.rec.Rollouts.Settle(claim.RolledBack, lifecycle.ReasonRolledBack, "its predecessor is active already", o.wall())
	case final(err) == "":
		return err
	default:
		o.rec.Rollouts = o.rec.Rollouts.Settle(claim.Stuck, final(err), err.Error(), o.wall())
	}
	return o.keepClaim()
}

// mayGoBack refuses to take back what came after the rollout.
func (o *owner) mayGoBack(c *claim.Claim) error {
	a := o.rec.State.Active()
	switch {
	case c.Predecessor == 0:
		return fmt.Errorf("%w: service %q did not run before the rollout", ErrNoRollbackTarget, o.name)
	case a != nil && !o.sameOrigin(a.Number, c.Generation) && !o.sameOrigin(a.Number, c.Predecessor):
		return fmt.Errorf("%w: service %q: generation %d came after the rollout: gracectl rollback decides what becomes of it", ErrNoRollbackTarget, o.name, a.Number)
	}
	return nil
}

// finals are the refusals that asking again would not change, and their reasons.
var finals = []struct {
	is     error
	reason lifecycle.Reason
}{
	{ErrNoRollbackTarget, "NO_ROLLBACK_TARGET"},
	{ErrWrongState, "WRONG_STATE"},
	{ErrTooManyGenerations, "TOO_MANY_GENERATIONS"},
	{ErrAddressOverlap, "ADDRESS_OVERLAP"},
	{ErrAddressInUse, lifecycle.ReasonAddressInUse},
	{ErrOutOfMemory, "OUT_OF_MEMORY"},
	{ErrNotExecutable, lifecycle.ReasonNotExecutable},
	{ErrHostFile, lifecycle.ReasonHostFile},
	{ErrSignatureRequired, "SIGNATURE_REQUIRED"},
	{ErrSignatureRefused, "SIGNATURE_REFUSED"},
	{ErrReleaseBelowFloor, "SIGNATURE_BELOW_FLOOR"},
	{ErrNotRoot, "PERMISSION"},
}

// final is the reason of a refusal that asking again would not change; empty for any
// other error.
func final(err error) lifecycle.Reason {
	for _, f := range finals {
		if errors.Is(err, f.is) {
			return f.reason
		}
	}
	var invalid *service.InvalidError
	var problem *Problem
	switch {
	case errors.As(err, &invalid):
		return "INVALID"
	case errors.As(err, &problem):
		return problem.Reason
	}
	return ""
}
