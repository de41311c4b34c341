package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/pause"
)

const (
	// inspectEvery is how often a generation that proves itself is looked at.
	inspectEvery = 100 * time.Millisecond
	// deepEvery is how many of these looks make a deep one.
	deepEvery = 20
	// notAcceptingAfter is how long a queue may stand without one connection
	// being taken from it.
	notAcceptingAfter = 3 * time.Second
)

// watch looks after a generation from its first step to the end of the soak.
func (o *owner) watch(e lifecycle.Effect, sl *openSlot) func(context.Context) {
	spec, _ := o.rec.spec(e.Generation)
	check := spec.Upgrade.Check
	return func(ctx context.Context) {
		slot, err := sl.wait(ctx)
		if err != nil {
			return
		}
		var parts sync.WaitGroup
		defer parts.Wait()
		parts.Go(func() { o.watchArrivals(ctx, e, slot) })
		if check != nil {
			parts.Go(func() { o.watchCheck(ctx, e, slot, *check) })
		}
		o.watchSlot(ctx, e, slot)
	}
}

func (o *owner) watchArrivals(ctx context.Context, e lifecycle.Effect, slot Slot) {
	err := slot.Arrivals(ctx, func(n int) {
		o.post(ctx, func() {
			o.fact(lifecycle.Event{Type: lifecycle.Saw, Generation: e.Generation, Instance: e.Step, Count: n})
		})
	})
	if err != nil && ctx.Err() == nil {
		o.log.Warn("a step's connections cannot be counted", "generation", e.Generation, "error", err)
	}
}

func (o *owner) watchCheck(ctx context.Context, e lifecycle.Effect, slot Slot, c service.Check) {
	failures := 0
	for pause.For(ctx, c.Interval) == nil {
		attempt, cancel := context.WithTimeout(ctx, max(c.Interval, time.Second))
		err := slot.Probe(attempt, c.Probe, o.steering, e.Generation)
		cancel()
		if err == nil || ctx.Err() != nil {
			failures = 0
			continue
		}
		if failures++; failures < c.Failures {
			continue
		}
		message := fmt.Sprintf("the check failed %d times in a row: %v", failures, err)
		o.post(ctx, func() {
			o.fact(lifecycle.Event{Type: lifecycle.Fault, Generation: e.Generation, Reason: lifecycle.ReasonCheckFailed, Message: message})
		})
		return
	}
}

// watchSlot looks at the listener, the group and the queue.
func (o *owner) watchSlot(ctx context.Context, e lifecycle.Effect, slot Slot) {
	q := queueWatch{}
	for n := 0; ; n++ {
		err := slot.Inspect(ctx, n%deepEvery == 0)
		if err == nil {
			err = q.look(ctx, slot, time.Now())
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			o.post(ctx, func() { o.fact(fault(e.Generation, err)) })
			return
		}
		if pause.For(ctx, inspectEvery) != nil {
			return
		}
	}
}

// overseeEvery bounds how often a proven generation that is in use is looked at.
const overseeEvery = time.Second

// oversee looks after the listeners of a proven generation. That one was shut
// down is an event; that one was closed is seen once somebody waits there. A
// generation that nobody uses costs nothing.
func (o *owner) oversee(e lifecycle.Effect, sl *openSlot) func(context.Context) {
	return func(ctx context.Context) {
		slot, err := sl.wait(ctx)
		if err != nil {
			return
		}
		o.lookForOwn(ctx, e, slot)
		looking, found := context.WithCancelCause(ctx)
		defer found(nil)
		look := func() {
			if err := slot.Inspect(looking, false); err != nil {
				found(err)
			}
		}
		var shut sync.WaitGroup
		shut.Go(func() {
			if slot.AwaitLost(looking) == nil {
				look()
			}
		})
		for slot.AwaitQueued(looking) == nil {
			look()
			_ = pause.For(looking, overseeEvery)
		}
		shut.Wait()
		if ctx.Err() == nil {
			o.lostListener(ctx, e, slot, context.Cause(looking))
		}
	}
}

// lookForOwn notes the ports that a program opened by itself, and the files that it
// has locked: no copy of it can, beside it, which is better known before the next
// upgrade.
func (o *owner) lookForOwn(ctx context.Context, e lifecycle.Effect, slot Slot) {
	own, err := slot.Undeclared()
	locks, lockErr := slot.Locks()
	if err := errors.Join(err, lockErr); err != nil {
		o.log.Debug("a program's own listeners and locks cannot be listed", "generation", e.Generation, "error", err)
	}
	o.post(ctx, func() {
		v := o.vitals(e.Generation)
		v.own, v.locks = own, locks
		o.publish()
	})
}

// lostListener has connections wait instead of being refused until the program
// is replaced.
func (o *owner) lostListener(ctx context.Context, e lifecycle.Effect, slot Slot, problem error) {
	again, err := slot.Accept(ctx)
	if err != nil && ctx.Err() == nil {
		o.log.Error("a slot does not listen", "slot", e.Slot, "error", err)
	}
	o.post(ctx, func() {
		o.relistened(again, e.Slot)
		o.notice(e.Generation, true, problem.Error()+": it is replaced")
		o.fact(fault(e.Generation, problem))
	})
}

// queueWatch notices a queue from which nothing is taken.
type queueWatch struct {
	last  int
	since time.Time
}

func (q *queueWatch) look(ctx context.Context, slot Slot, now time.Time) error {
	n, err := slot.Queued(ctx)
	if err != nil {
		return nil // not every socket has a queue that can be read
	}
	if n == 0 || n < q.last || q.since.IsZero() {
		q.since = now
	}
	q.last = n
	if n > 0 && now.Sub(q.since) >= notAcceptingAfter {
		return &Problem{
			Reason: lifecycle.ReasonNotAccepting,
			Err:    fmt.Errorf("%d connections have waited for %v and the program accepted none", n, notAcceptingAfter),
		}
	}
	return nil
}
