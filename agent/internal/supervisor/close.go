package supervisor

import (
	"context"

	"github.com/gracefleet/gracefleet/agent/internal/steer"
)

// askClose waits in the owner until the slot may be closed, and returns the
// order that then holds.
func (o *owner) askClose(ctx context.Context, slot int) (steer.Order, error) {
	granted := make(chan struct{})
	after, err := o.awaitClose(ctx, slot, granted)
	if err != nil {
		// Whatever came first, nobody will use the permission.
		_ = o.do(o.ctx, func() error { o.withdrawClose(slot, granted); return nil })
	}
	return after, err
}

func (o *owner) awaitClose(ctx context.Context, slot int, granted chan struct{}) (after steer.Order, err error) {
	err = o.do(ctx, func() error {
		o.closers[slot] = granted
		o.grantClose()
		return nil
	})
	if err != nil {
		return after, err
	}
	select {
	case <-granted:
	case <-ctx.Done():
		return after, context.Cause(ctx)
	}
	err = o.do(ctx, func() error { after = o.rec.Order.Done(); return nil })
	return after, err
}

func (o *owner) withdrawClose(slot int, granted chan struct{}) {
	select {
	case <-granted:
		if p := o.rec.Order.Pending; p != nil && p.Kind == steer.Leave && int(p.Slot) == slot {
			o.rec.Order.Pending = nil
		}
		o.grantClose()
	default:
		delete(o.closers, slot)
	}
}

// grantClose lets one slot be closed whose leaving misdirects nobody; the others
// stay parked.
func (o *owner) grantClose() {
	for slot, granted := range o.closers {
		if o.rec.Order.Pending != nil {
			return
		}
		if len(o.rec.Order.Addresses(steer.Slot(slot))) > 0 {
			if !o.rec.Order.Closable(steer.Slot(slot), o.shares()) {
				continue
			}
			next, err := o.rec.Order.Close(steer.Slot(slot))
			if err != nil {
				o.log.Error("slot cannot be closed", "slot", slot, "error", err)
				continue
			}
			o.rec.Order = next
			if err := o.save(); err != nil {
				o.log.Error("the close of a slot could not be written; trying again", "error", err)
				o.rec.Order.Pending = nil
				o.later(o.grantClose)
				return
			}
		}
		delete(o.closers, slot)
		close(granted)
	}
}

func (o *owner) shares() steer.Weights {
	w := steer.Weights{Share: map[steer.Slot]int{}}
	for slot, share := range o.rec.State.Weights() {
		w.Share[steer.Slot(slot)] = share
	}
	return w
}
