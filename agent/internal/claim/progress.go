package claim

import (
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
)

// Progress is how far a host is within a rollout. The numbers are stored on disk, and
// are those of the contract.
type Progress uint8

// The stages.
const (
	Claimed    Progress = 1  // what the change needs is not there yet
	Pushed     Progress = 2  // nothing has begun
	Upgrading  Progress = 3  // the upgrade is in progress
	Soaking    Progress = 4  // the new generation has every new connection
	Upgraded   Progress = 5  // it was promoted
	Unchanged  Progress = 6  // the service was like that before
	Failed     Progress = 7  // the host went back by itself, or could not begin
	Returning  Progress = 8  // the host is told to go back
	RolledBack Progress = 9  // it serves its predecessor, and nothing more begins
	Stuck      Progress = 10 // it could not go back
)

// Moving says that something is under way, which has an end.
func (p Progress) Moving() bool { return p == Upgrading || p == Soaking || p == Returning }

// Waiting says that nothing has begun.
func (p Progress) Waiting() bool { return p == Claimed || p == Pushed }

// Over says that nothing more comes of the rollout here.
func (p Progress) Over() bool {
	return p == Unchanged || p == Failed || p == RolledBack || p == Stuck
}

// May says whether a host that was reported to be at p may be reported at next: what
// was said is not taken back, but for what an orphan's policy, a crash loop, or an
// operator does.
func (p Progress) May(next Progress) bool {
	switch p {
	case Claimed:
		return true
	case Pushed:
		return next != Claimed
	case Upgrading:
		return next != Claimed && next != Unchanged
	case Soaking:
		return next != Claimed && next != Unchanged && next != Upgrading
	case Upgraded:
		return next == Upgraded || next == Failed || next == Returning || next == RolledBack || next == Stuck
	case Returning:
		return next == Returning || next == Failed || next == RolledBack || next == Stuck
	}
	return next == p
}

// Facts are what a host knows of a claim's upgrade. What is not known, or no longer,
// is nil.
type Facts struct {
	// Missing says that the host lacks something that the change needs.
	Missing bool
	Upgrade *lifecycle.Upgrade // the claim's
	Return  *lifecycle.Upgrade // its way back
	// Later is the latest rollback from the claim's generation that it did not ask for.
	Later *lifecycle.Upgrade
}

// Observe is the book after a look at the facts, and whether that made a difference.
func (b Book) Observe(f Facts, now time.Time) (Book, bool) {
	if b.Held == nil || b.Held.Progress.Over() {
		return b, false
	}
	c := *b.Held
	c.observe(f, now)
	was := b.Held
	if c.Progress == was.Progress && c.Reason == was.Reason && c.Message == was.Message && c.Generation == was.Generation {
		return b, false
	}
	c.Revision++
	b.Held = &c
	return b, true
}

func (c *Claim) observe(f Facts, now time.Time) {
	switch {
	case c.Return != "":
		c.goesBack(f.Return, now)
	case c.Upgrade != "":
		c.goesOn(f, now)
	case c.Undo:
		c.is(RolledBack, lifecycle.ReasonRolledBack, "nothing had begun", now)
	case c.Change != nil && !f.Missing:
		c.is(Pushed, c.Reason, c.Message, now)
	}
}

func (c *Claim) goesOn(f Facts, now time.Time) {
	u := f.Upgrade
	if u == nil {
		return
	}
	c.Generation = u.To
	switch u.State {
	case lifecycle.UpgradeStarting, lifecycle.UpgradeCanary:
		c.is(Upgrading, "", "", now)
	case lifecycle.UpgradeSoaking:
		c.is(Soaking, "", "", now)
	case lifecycle.UpgradeSucceeded:
		c.proved(f.Later, now)
	case lifecycle.UpgradeFailed:
		c.is(Failed, u.Reason, u.Message, now)
	case lifecycle.UpgradeAborted:
		c.aborted(u, now)
	}
}

// proved is a host whose upgrade was promoted. What it went back for since counts.
func (c *Claim) proved(later *lifecycle.Upgrade, now time.Time) {
	switch {
	case later == nil:
		c.is(Upgraded, "", "", now)
	case later.Kind == lifecycle.KindAutoRollback:
		c.is(Failed, lifecycle.ReasonCrashLoop, later.Message, now)
	case later.State == lifecycle.UpgradeSucceeded:
		c.is(RolledBack, lifecycle.ReasonRolledBack, "rolled back by hand", now)
	}
}

// aborted is a host that went back because somebody said so: the driver, the policy for
// orphans, or an operator of this host alone, who then has seen it fail.
func (c *Claim) aborted(u *lifecycle.Upgrade, now time.Time) {
	switch {
	case c.Undo:
		c.is(RolledBack, lifecycle.ReasonRolledBack, u.Message, now)
	case c.Orphaned:
		c.Upgrade, c.Generation, c.Orphaned, c.StartedAt = "", 0, false, time.Time{}
		c.is(Pushed, lifecycle.ReasonOrphaned, u.Message, now)
	default:
		c.is(Failed, u.Reason, u.Message, now)
	}
}

func (c *Claim) goesBack(u *lifecycle.Upgrade, now time.Time) {
	switch {
	case u == nil:
	case !u.State.Ended():
		c.is(Returning, lifecycle.ReasonRolledBack, "", now)
	case u.State == lifecycle.UpgradeSucceeded:
		c.is(RolledBack, lifecycle.ReasonRolledBack, "", now)
	default:
		c.is(Stuck, u.Reason, u.Message, now)
	}
}

func (c *Claim) is(p Progress, r lifecycle.Reason, message string, now time.Time) {
	if !c.Progress.May(p) {
		return
	}
	if p != c.Progress && (p == Upgraded || p.Over()) {
		c.EndedAt = now
	}
	c.Progress, c.Reason, c.Message = p, r, message
}
