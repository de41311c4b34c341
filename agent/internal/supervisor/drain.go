package supervisor

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// holdOffPatience bounds how long the queue of a service that stops is waited for.
const holdOffPatience = time.Second

func (o *owner) quiesce(e lifecycle.Effect, sl *openSlot) func(context.Context) {
	heir := o.heirOf(e.Generation)
	return func(ctx context.Context) {
		slot, err := sl.wait(ctx)
		if err != nil || o.steered(ctx, heir) != nil {
			return
		}
		if err := slot.Quiesce(ctx); err != nil {
			if ctx.Err() == nil {
				o.log.Warn("cannot tell when a slot is quiet; its deadline decides", "slot", e.Slot, "error", err)
			}
			return
		}
		o.post(ctx, func() {
			o.fact(lifecycle.Event{Type: lifecycle.Quiesced, Generation: e.Generation})
		})
	}
}

// holdOff has the program serve what it has before it is told to end, since the
// service stops.
func (o *owner) holdOff(e lifecycle.Effect, sl *openSlot) func(context.Context) {
	return func(ctx context.Context) {
		slot, err := sl.wait(ctx)
		if err != nil || slot.HoldOff(ctx, holdOffPatience) != nil {
			return
		}
		o.post(ctx, func() {
			o.fact(lifecycle.Event{Type: lifecycle.Quiesced, Generation: e.Generation})
		})
	}
}

// letGoPoll: that a program closes its listener is no event.
const letGoPoll = 20 * time.Millisecond

// refuse has new connections refused: at once where no program runs, else as
// soon as it let go of its listener, since many end when theirs is shut down.
func (o *owner) refuse(e lifecycle.Effect, sl *openSlot) func(context.Context) {
	g := o.rec.State.Generation(e.Generation)
	runs := g != nil && g.Running
	return func(ctx context.Context) {
		slot, err := sl.wait(ctx)
		if err != nil {
			return
		}
		for runs && slot.Inspect(ctx, false) == nil {
			if pause.For(ctx, letGoPoll) != nil {
				return
			}
		}
		if err := slot.Refuse(); err != nil {
			o.log.Warn("a slot could not be closed to new connections", "slot", e.Slot, "error", err)
			return
		}
		o.post(ctx, func() { o.left(slot, e.Slot) })
	}
}

// firstCount is when the connections of a generation are counted first after it
// was superseded: nobody decides anything by them before it is quiet.
const firstCount = 10 * time.Millisecond

// count follows a draining generation's connections.
func (o *owner) count(e lifecycle.Effect, sl *openSlot) func(context.Context) {
	patient := lifecycle.Phase(e.Step) == lifecycle.Patient
	spec, _ := o.rec.spec(e.Program)
	quiet := spec.Drain.Nudge
	return func(ctx context.Context) {
		slot, err := sl.wait(ctx)
		if err != nil {
			return
		}
		// A first count walks the kernel's table of all connections, for 1 to 2 ms
		// of a processor that the new generation's first answers need more.
		if lifecycle.Phase(e.Step) == lifecycle.Quiescing && pause.For(ctx, firstCount) != nil {
			return
		}
		idle := newIdleWatch()
		var watcher sync.WaitGroup
		defer watcher.Wait()
		if patient {
			watcher.Go(func() { idle.run(ctx, o, e, slot) })
		}
		if patient && quiet > 0 && !e.Force {
			watcher.Go(func() { o.nudge(ctx, e, slot, quiet) })
		}
		err = slot.WatchCount(ctx, func(c Count) {
			idle.count(c.Open)
			o.post(ctx, func() { o.counted(e, c) })
		})
		if err != nil && ctx.Err() == nil {
			o.log.Warn("a drain cannot be counted", "generation", e.Generation, "error", err)
		}
	}
}

// idlePoll: a queue that runs empty is no event, and connections that come from
// it may have come and gone before the next count.
const idlePoll = 20 * time.Millisecond

// idleWatch finds out when a generation that counts 0 connections has none.
type idleWatch struct {
	open atomic.Int64
	zero chan struct{}
}

func newIdleWatch() *idleWatch { return &idleWatch{zero: make(chan struct{}, 1)} }

func (w *idleWatch) count(open int) {
	w.open.Store(int64(open))
	if open != 0 {
		return
	}
	select {
	case w.zero <- struct{}{}:
	default:
	}
}

// run reports the generation idle, once.
func (w *idleWatch) run(ctx context.Context, o *owner, e lifecycle.Effect, slot Slot) {
	for {
		select {
		case <-w.zero:
		case <-ctx.Done():
			return
		}
		for w.open.Load() == 0 {
			if quiet(ctx, slot) {
				o.post(ctx, func() { o.fact(lifecycle.Event{Type: lifecycle.Idle, Generation: e.Generation}) })
				return
			}
			if pause.For(ctx, idlePoll) != nil {
				return
			}
		}
	}
}

// quiet says whether nothing waits on the slot, nor what did is open now.
func quiet(ctx context.Context, slot Slot) bool {
	if n, err := slot.Queued(ctx); err != nil || n > 0 {
		return false
	}
	c, err := slot.Count(ctx)
	return err == nil && c.Open == 0
}

// nudge closes connections that are idle, as long as the drain is patient.
func (o *owner) nudge(ctx context.Context, e lifecycle.Effect, slot Slot, quiet time.Duration) {
	for pause.For(ctx, quiet/2) == nil {
		if _, err := slot.Nudge(ctx, quiet); err != nil && ctx.Err() == nil {
			o.post(ctx, func() {
				o.notice(e.Generation, true, fmt.Sprintf("idle connections cannot be closed: %v", err))
			})
			return
		}
	}
}

func (o *owner) counted(e lifecycle.Effect, c Count) {
	o.vitals(e.Generation).count = &c
	o.publish()
}

// signal tells a program to end, once per instance.
func (o *owner) signal(e lifecycle.Effect, sl *openSlot) func(context.Context) {
	spec, _ := o.rec.spec(e.Program)
	x := o.external(e.Generation)
	return func(ctx context.Context) {
		slot, err := sl.wait(ctx)
		if err != nil {
			return
		}
		sig := spec.Drain.Signal
		if x != nil && x.Unit != "" {
			sig = 0 // its unit stops it as it always did
			o.retire(ctx, e.Generation, *x)
		}
		op := fmt.Sprintf("drain-%d", e.Instance)
		if err := slot.Signal(ctx, e.Instance, op, sig, true); err != nil && ctx.Err() == nil {
			o.log.Warn("the drain signal could not be sent", "generation", e.Generation, "error", err)
		}
	}
}

// kill ends a program at its deadline and says what was cut.
func (o *owner) kill(e lifecycle.Effect, sl *openSlot) func(context.Context) {
	g := o.rec.State.Generation(e.Generation)
	draining := g != nil && g.State == lifecycle.Draining
	x := o.external(e.Generation)
	spec, _ := o.rec.spec(e.Program)
	return func(ctx context.Context) {
		slot, err := sl.wait(ctx)
		if err != nil {
			return
		}
		if draining && spec.Drain.CloseConnections {
			o.closeConnections(ctx, e, slot)
		}
		c, countErr := slot.Count(ctx)
		if cutting := c.Open - c.Waiting; draining && countErr == nil && cutting > 0 {
			o.post(ctx, func() { o.cut(e.Generation, cutting) })
		}
		if x != nil {
			o.retire(ctx, e.Generation, *x) // else it starts another
		}
		if err := slot.Kill(ctx, fmt.Sprintf("kill-%d", e.Instance)); err != nil && ctx.Err() == nil {
			o.log.Error("a program could not be killed", "generation", e.Generation, "error", err)
		}
	}
}

const (
	// lastChance is how long a program without connections may take to end.
	lastChance = 5 * time.Second
	// peersTold bounds how many an event names.
	peersTold = 20
)

// closeConnections resets what a program holds and waits for it to end by itself.
func (o *owner) closeConnections(ctx context.Context, e lifecycle.Effect, slot Slot) {
	peers, err := slot.CloseConnections(ctx)
	if err != nil && ctx.Err() == nil {
		o.log.Warn("connections could not be closed: the program is killed", "generation", e.Generation, "error", err)
		return
	}
	if len(peers) > 0 {
		o.post(ctx, func() { o.closed(e.Generation, peers) })
	}
	wait, cancel := context.WithTimeout(ctx, lastChance)
	defer cancel()
	_, _ = slot.Await(wait, e.Instance) // the kill that follows finds out
}

// closed says whose connections were reset.
func (o *owner) closed(generation int, peers []netip.AddrPort) {
	if p := o.rec.generation(generation); p != nil {
		p.Forced += len(peers)
	}
	text := fmt.Sprintf("%d connections were reset at its deadline:", len(peers))
	for _, p := range peers[:min(len(peers), peersTold)] {
		text += " " + p.String()
	}
	if more := len(peers) - peersTold; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	o.notice(generation, true, text)
}

func (o *owner) cut(generation, n int) {
	if p := o.rec.generation(generation); p != nil {
		p.Forced += n
	}
	o.notice(generation, true, fmt.Sprintf("killed at its deadline; %d connections were cut", n))
}
