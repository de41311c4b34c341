package supervisor

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
)

// run has one instance running and reports how it goes. When it is ended, the
// program lives on.
func (o *owner) run(e lifecycle.Effect, sl *openSlot) func(context.Context) {
	spec, known := o.rec.spec(e.Program)
	vacated := o.vacated(e)
	adopted := o.external(e.Generation) != nil
	return func(ctx context.Context) {
		slot, err := sl.wait(ctx)
		if err != nil {
			return // the owner has told the lifecycle
		}
		if !known {
			err = fmt.Errorf("generation %d's specification is no longer kept", e.Program)
			o.post(ctx, func() { o.fact(startFailed(e.Generation, e.Instance, err)) })
			return
		}
		again, err := slot.Accept(ctx)
		if len(again) > 0 {
			o.post(ctx, func() { o.relistened(again, e.Slot) })
		}
		if err != nil {
			o.post(ctx, func() { o.fact(startFailed(e.Generation, e.Instance, err)) })
			return
		}
		if err := o.vacate(ctx, vacated); err != nil {
			if ctx.Err() == nil {
				o.post(ctx, func() { o.fact(startFailed(e.Generation, e.Instance, err)) })
			}
			return
		}
		pid, err := slot.Start(ctx, Launch{Service: o.name, Generation: e.Program, For: e.Generation, Instance: e.Instance, Spec: spec})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			o.post(ctx, func() { o.notStarted(e, err) })
			return
		}
		o.post(ctx, func() { o.started(e, pid) })
		o.attend(ctx, e, slot, adopted)
	}
}

func (o *owner) notStarted(e lifecycle.Effect, err error) {
	o.log.Warn("a program could not be started", "generation", e.Generation, "program", e.Program, "error", err)
	var start *StartError
	if errors.As(err, &start) {
		o.vitals(e.Generation).errno = start.Errno
	}
	o.fact(startFailed(e.Generation, e.Instance, err))
}

func (o *owner) started(e lifecycle.Effect, pid int) {
	v := o.vitals(e.Generation)
	v.pid, v.status, v.cause = pid, "", ""
	o.log.Debug("program started", "generation", e.Generation, "instance", e.Instance, "pid", pid)
	o.fact(lifecycle.Event{Type: lifecycle.Started, Generation: e.Generation, Instance: e.Instance})
}

// attend listens to a running instance and reports its end. An adopted program may
// hand over to another process: that is no end.
func (o *owner) attend(ctx context.Context, e lifecycle.Effect, slot Slot, adopted bool) {
	follow, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = slot.Follow(follow, e.Instance, func(s Saying) {
			if s.Forged != 0 {
				o.sup.forged(o.name, s.Forged, s.Notice)
			}
			o.post(follow, func() { o.heard(e, s) })
		})
	}()
	exit, err := slot.Await(ctx, e.Instance)
	for adopted && err == nil {
		x, ok := slot.Successor(ctx)
		if !ok {
			break
		}
		o.post(ctx, func() { o.handedOver(e, x) })
		exit, err = slot.Await(ctx, e.Instance)
	}
	stop()
	<-ended
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		exit = Exit{Unknown: true, Time: o.wall()}
		o.log.Warn("the end of a program could not be watched", "generation", e.Generation, "error", err)
	}
	left := slot.Leftovers()
	o.post(ctx, func() { o.exited(e, exit, left) })
}

func (o *owner) heard(e lifecycle.Effect, s Saying) {
	if s.Status != "" {
		o.vitals(e.Generation).status = s.Status
		o.publish()
	}
	if s.Notice != "" {
		o.notice(e.Generation, true, s.Notice)
	}
	if s.Failed != "" {
		o.fact(lifecycle.Event{
			Type: lifecycle.Fault, Generation: e.Generation,
			Reason: lifecycle.ReasonReportedFailure, Message: "the program reports: " + s.Failed,
		})
	}
}

func (o *owner) exited(e lifecycle.Effect, x Exit, left []int) {
	if g := o.rec.State.Generation(e.Generation); g == nil || g.Instance != e.Instance {
		return
	}
	o.vitals(e.Generation).pid = 0
	if p := o.rec.generation(e.Generation); p != nil {
		p.Exit = &x
	}
	o.fact(lifecycle.Event{
		Type: lifecycle.Exited, Generation: e.Generation, Instance: e.Instance,
		Clean: x.success(), Message: x.String(),
	})
	if g := o.rec.State.Generation(e.Generation); g != nil && g.RestartAt != 0 {
		message := startedAgain(x, left)
		if g.External {
			message = "the adopted program ended, and nothing had replaced it: the agent starts its own in its place"
		}
		o.notice(e.Generation, true, message)
	}
}

// startedAgain says why. Some programs start their successor themselves, and may
// be told to by somebody who does not know of the agent.
func startedAgain(x Exit, left []int) string {
	if len(left) == 0 {
		return x.String() + ": it is started again"
	}
	return fmt.Sprintf("%v, and left processes %v behind: they are ended, and it is started again; gracectl restart has it replaced without loss", x, left)
}

func (x Exit) success() bool { return !x.Unknown && x.Code == 0 && x.Signal == 0 }

// String says it in words.
func (x Exit) String() string {
	switch {
	case x.Unknown:
		return "it ended, exit status unknown"
	case x.Signal != 0:
		return fmt.Sprintf("it was killed by signal %d (%v)", x.Signal, syscall.Signal(x.Signal))
	default:
		return fmt.Sprintf("it exited with status %d", x.Code)
	}
}
