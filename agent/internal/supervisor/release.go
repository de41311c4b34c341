package supervisor

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// release closes the slot of an ended generation. It first makes sure that
// nothing runs there and nobody waits there, then waits until its closing
// misdirects nobody; until that, the slot is parked and watched.
func (o *owner) release(e lifecycle.Effect, sl *openSlot) func(context.Context) {
	asked := sl.asked
	g := o.rec.State.Generation(e.Generation)
	adopted := g != nil && g.External
	return func(ctx context.Context) {
		if !asked {
			o.host.Clear(o.name, e.Generation)
			o.post(ctx, func() { o.released(e, o.rec.Order) })
			return
		}
		slot, err := sl.wait(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil { // it never opened, or its keeper is no more
			o.host.Clear(o.name, e.Generation)
			o.post(ctx, func() { o.released(e, o.rec.Order) })
			return
		}
		if !adopted { // what that started is not the agent's to end
			o.killLeftovers(ctx, e, slot)
		}
		switch {
		case e.Force && adopted: // the program takes what waits
		case e.Force:
			o.tellAbandoned(ctx, e, slot)
		case o.stranded(ctx, e, slot):
			return
		}
		after, err := o.park(ctx, e, slot)
		if err != nil {
			return
		}
		o.close(ctx, e, slot, after)
	}
}

func (o *owner) killLeftovers(ctx context.Context, e lifecycle.Effect, slot Slot) {
	if left := slot.Leftovers(); len(left) > 0 {
		o.post(ctx, func() {
			o.notice(e.Generation, true, fmt.Sprintf("%d processes outlived the program and are killed: %v", len(left), left))
		})
	}
	if err := slot.Kill(ctx, "release"); err != nil && ctx.Err() == nil {
		o.log.Warn("what ran on a slot could not be killed", "slot", e.Slot, "error", err)
	}
}

// stranded reports connections that wait on the slot, if there are any.
func (o *owner) stranded(ctx context.Context, e lifecycle.Effect, slot Slot) bool {
	if n, err := slot.Queued(ctx); err != nil || n == 0 {
		return ctx.Err() != nil
	}
	o.post(ctx, func() {
		o.fact(lifecycle.Event{Type: lifecycle.Stranded, Generation: e.Generation})
	})
	return true
}

// tellAbandoned says whom the closing of a slot cuts.
func (o *owner) tellAbandoned(ctx context.Context, e lifecycle.Effect, slot Slot) {
	if n, err := slot.Queued(ctx); err == nil && n > 0 {
		o.post(ctx, func() {
			o.notice(e.Generation, true, fmt.Sprintf("its slot is given up: %d connections waited on it that no program could be started for", n))
		})
	}
}

// park waits for the permission to close, and meanwhile for stragglers.
func (o *owner) park(ctx context.Context, e lifecycle.Effect, slot Slot) (steer.Order, error) {
	if e.Force {
		return o.askClose(ctx, e.Slot)
	}
	watch, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() {
		if slot.AwaitQueued(watch) == nil {
			o.post(watch, func() {
				o.fact(lifecycle.Event{Type: lifecycle.Stranded, Generation: e.Generation})
			})
		}
	})
	defer watcher.Wait()
	defer stop()
	// A handshake that began while the slot had weight may still end here.
	if err := slot.Handshaken(ctx); err != nil && ctx.Err() == nil {
		o.log.Warn("handshakes cannot be listed", "slot", e.Slot, "error", err)
	}
	if err := o.awaitAlone(ctx, e, slot); err != nil {
		return steer.Order{}, err
	}
	return o.askClose(ctx, e.Slot)
}

// holdersEvery is how often it is looked who holds a slot's sockets: the kernel has
// no event for that.
const holdersEvery = time.Second

// awaitAlone waits until the agent is the last to hold the slot: what others have
// keeps its place in the groups, and would take that of another slot.
func (o *owner) awaitAlone(ctx context.Context, e lifecycle.Effect, slot Slot) error {
	told := false
	for {
		holders := slot.Holders(ctx)
		if len(holders) == 0 {
			return context.Cause(ctx)
		}
		if !told {
			told = true
			o.post(ctx, func() {
				o.notice(e.Generation, true, fmt.Sprintf("its slot stays open, without new connections, until nobody else has its listeners: %s", strings.Join(holders, ", ")))
			})
		}
		if err := pause.For(ctx, holdersEvery); err != nil {
			return err
		}
	}
}

// closeLimit bounds the closing of a slot, which no longer ends half-way.
const closeLimit = 10 * time.Second

// close closes the slot between two private probes: they rely on its group.
func (o *owner) close(ctx context.Context, e lifecycle.Effect, slot Slot, after steer.Order) {
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	if err := o.steering.Close(detached, e.Slot, slot, after); err != nil {
		o.log.Error("a slot could not be closed", "slot", e.Slot, "error", err)
	}
	o.post(o.ctx, func() { o.released(e, after) })
}

func (o *owner) released(e lifecycle.Effect, after steer.Order) {
	if p := o.rec.Order.Pending; p != nil && p.Kind == steer.Leave && int(p.Slot) == e.Slot {
		o.rec.Order = after
	}
	delete(o.slots, e.Slot)
	o.fact(lifecycle.Event{Type: lifecycle.Released, Generation: e.Generation})
	o.settle()
}
