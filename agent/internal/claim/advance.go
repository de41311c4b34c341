package claim

import (
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
)

// Begun notes the upgrade that the host begins: the rollout's, from the generation that
// is active, or the way back from it.
func (b Book) Begun(upgrade string, active int, now time.Time) Book {
	return b.with(func(c *Claim) {
		if c.Undo {
			c.Return = upgrade
			return
		}
		c.Upgrade, c.Predecessor, c.StartedAt = upgrade, active, now
	})
}

// Undo tells the host to go back.
func (b Book) Undo() Book { return b.with(func(c *Claim) { c.Undo = true }) }

// Orphan has the upgrade taken back, since nobody drives it.
func (b Book) Orphan() Book { return b.with(func(c *Claim) { c.Orphaned = true }) }

// Settle notes how the host is where no upgrade says so: it was like that before, it
// could not begin, or not go back.
func (b Book) Settle(p Progress, r lifecycle.Reason, message string, now time.Time) Book {
	if !b.Held.Progress.May(p) {
		return b
	}
	return b.with(func(c *Claim) { c.is(p, r, message, now) })
}

// Action is what operators tell a driver. The numbers are those of the contract.
type Action uint8

// The actions.
const (
	Pause   Action = 1
	Resume  Action = 2
	Promote Action = 3
	Abort   Action = 4
)

// Word is what one operator says.
type Word struct {
	Action Action
	Wave   int // that may begin; Promote alone
	Actor  string
	Reason string
}

// Control leaves a word for the driver. An abort is not taken back, and no pause of
// before stands against it.
func (b Book) Control(rollout string, w Word) (Book, error) {
	if b.Held == nil || b.Held.Rollout != rollout {
		return b, notFound(rollout)
	}
	return b.with(func(c *Claim) {
		switch w.Action {
		case Pause:
			c.Control.Paused = true
		case Resume:
			c.Control.Paused = false
		case Promote:
			c.Control.PromotedWave = max(c.Control.PromotedWave, w.Wave)
		case Abort:
			c.Control.Abort, c.Control.Paused = true, false
		}
		c.Control.Actor, c.Control.Reason = w.Actor, w.Reason
		c.Control.Revision++
	}), nil
}
