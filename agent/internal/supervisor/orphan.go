package supervisor

import (
	"fmt"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/claim"
	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
)

// renewLease has the lease of the claim last its whole length from now.
func (o *owner) renewLease() {
	length := o.rec.Rollouts.Held.Lease
	o.leaseEnd = o.host.Now().After(length)
	o.lease.Reset(length)
}

// regainLease has the lease that an earlier agent gave last its whole length: nobody
// could renew it meanwhile. Where it had ended before, what follows from that goes on.
func (o *owner) regainLease() {
	c := o.rec.Rollouts.Held
	switch {
	case c == nil:
	case c.Leased:
		o.renewLease()
	default:
		o.orphan()
	}
}

// leaseOver notes that nobody has renewed the lease.
func (o *owner) leaseOver() {
	c := o.rec.Rollouts.Held
	if c == nil || !c.Leased {
		return
	}
	if left := o.leaseEnd - o.host.Now(); left > 0 {
		o.lease.Reset(time.Duration(left)) // it was renewed while the timer fired
		return
	}
	if err := o.keepUndriven(); err != nil {
		o.log.Error("the end of a lease could not be written; trying again", "error", err)
		o.lease.Reset(retryAfter)
		return
	}
	o.log.Warn("the lease of a rollout has ended", "rollout", c.Rollout, "driver", c.Driver, "progress", c.Progress)
	o.orphan()
}

// endLease ends the lease for the driver who has it.
func (o *owner) endLease(d claim.Driver) error {
	c, err := o.rec.Rollouts.Driven(d)
	switch {
	case err != nil:
		return fmt.Errorf("service %q: %w", o.name, err)
	case !c.Leased:
		return nil
	}
	if err := o.keepUndriven(); err != nil {
		return err
	}
	o.log.Info("the driver of a rollout has left", "rollout", c.Rollout, "driver", c.Driver, "progress", c.Progress)
	o.orphan()
	return nil
}

func (o *owner) keepUndriven() error {
	return o.attempt(func() error {
		o.rec.Rollouts = o.rec.Rollouts.LeaseEnded()
		return o.keepClaim()
	})
}

// orphan does what the claim wants of an upgrade that nobody drives.
func (o *owner) orphan() {
	c := o.rec.Rollouts.Held
	if c == nil || c.Leased || c.Upgrade == "" || !o.rec.State.Upgrading() || o.rec.State.Upgrade.ID != c.Upgrade {
		return
	}
	u := o.rec.State.Upgrade
	err := o.attempt(func() error {
		switch {
		case c.OnOrphan == claim.Rollback:
			o.rec.Rollouts = o.rec.Rollouts.Orphan()
			return o.command(lifecycle.Event{Type: lifecycle.Abort, Message: "the driver of the rollout, " + c.Driver + ", is gone"})
		case c.OnOrphan == claim.Finish && u.State == lifecycle.UpgradeSoaking:
			return o.command(lifecycle.Event{Type: lifecycle.Promote})
		case u.Plan.HoldSoak:
			return o.command(lifecycle.Event{Type: lifecycle.FreeSoak})
		}
		return nil
	})
	if err != nil {
		o.log.Error("an upgrade that nobody drives could not be dealt with; trying again", "error", err)
		o.later(o.orphan)
	}
}

// orphanSoon is for a state that has yet to settle.
func (o *owner) orphanSoon() {
	if c := o.rec.Rollouts.Held; c != nil && !c.Leased {
		go o.post(o.ctx, o.orphan)
	}
}

// keepLeased is keepClaim for a claim that has a driver again. A soak that went on by
// itself meanwhile waits for them.
func (o *owner) keepLeased() error {
	c, u := o.rec.Rollouts.Held, o.rec.State.Upgrade
	if c.Change != nil && c.Change.HoldSoak && o.rec.State.Upgrading() && u.ID == c.Upgrade && !u.Plan.HoldSoak {
		return o.command(lifecycle.Event{Type: lifecycle.HoldSoak})
	}
	return o.keepClaim()
}
