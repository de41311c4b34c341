package supervisor

import (
	"context"
	"fmt"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
)

// task is one effect under way.
type task struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (t *task) gone() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// keepEffects ends the effects that the state no longer asks for and starts
// those it newly does.
func (o *owner) keepEffects() {
	list := o.rec.State.Effects()
	want := make(map[lifecycle.Effect]bool, len(list))
	for _, e := range list {
		want[e] = true
	}
	for e, t := range o.tasks {
		if want[e] {
			continue
		}
		t.cancel()
		delete(o.tasks, e)
		o.ending[e.Slot] = append(o.ending[e.Slot], t)
	}
	for _, e := range list {
		if o.tasks[e] == nil {
			o.tasks[e] = o.start(e)
		}
	}
}

// start runs an effect after those on its slot that were ended have let go.
func (o *owner) start(e lifecycle.Effect) *task {
	ctx, cancel := context.WithCancel(o.ctx)
	t := &task{cancel: cancel, done: make(chan struct{})}
	before := o.endingOn(e.Slot)
	body := o.effect(e)
	go func() {
		defer close(t.done)
		defer cancel()
		for _, b := range before {
			<-b.done
		}
		if ctx.Err() == nil {
			body(ctx)
		}
	}()
	return t
}

func (o *owner) endingOn(slot int) []*task {
	left := o.ending[slot][:0]
	for _, t := range o.ending[slot] {
		if !t.gone() {
			left = append(left, t)
		}
	}
	if len(left) == 0 {
		delete(o.ending, slot)
		return nil
	}
	o.ending[slot] = left
	return append([]*task(nil), left...)
}

// effect is the body of an effect. It takes what it needs of the state here, in
// the owner's goroutine.
func (o *owner) effect(e lifecycle.Effect) func(context.Context) {
	sl := o.entry(e.Slot)
	switch e.Kind {
	case lifecycle.Run:
		return o.run(e, sl)
	case lifecycle.AwaitReady:
		return o.awaitReady(e, sl)
	case lifecycle.Watch:
		return o.watch(e, sl)
	case lifecycle.Oversee:
		return o.oversee(e, sl)
	case lifecycle.Quiesce:
		return o.quiesce(e, sl)
	case lifecycle.HoldOff:
		return o.holdOff(e, sl)
	case lifecycle.Refuse:
		return o.refuse(e, sl)
	case lifecycle.Count:
		return o.count(e, sl)
	case lifecycle.Signal:
		return o.signal(e, sl)
	case lifecycle.Kill:
		return o.kill(e, sl)
	case lifecycle.AwaitFull:
		return o.awaitFull(e, sl)
	case lifecycle.Boot:
		return o.boot(e)
	case lifecycle.Release:
		return o.release(e, sl)
	}
	panic(fmt.Sprintf("unknown effect %d", e.Kind))
}
