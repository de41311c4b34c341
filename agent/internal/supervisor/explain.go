package supervisor

import (
	"errors"
	"fmt"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
)

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
