package supervisor

import (
	"context"
	"fmt"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Promote ends the canary and the soak, or goes on to the next step.
func (s *Supervisor) Promote(ctx context.Context, c UpgradeCommand) (Upgrade, error) {
	return s.onUpgrade(ctx, c, func(o *owner, body string) (Upgrade, error) {
		t := lifecycle.Promote
		if c.Step {
			t = lifecycle.PromoteStep
		}
		return o.decide(c, lifecycle.Event{Type: t}, body)
	})
}

// Abort gives every new connection back to the old generation; when it returns,
// that is so, and durable.
func (s *Supervisor) Abort(ctx context.Context, c UpgradeCommand) (Upgrade, error) {
	return s.onUpgrade(ctx, c, func(o *owner, body string) (Upgrade, error) { return o.abort(c, body) })
}

func (s *Supervisor) onUpgrade(ctx context.Context, c UpgradeCommand, f func(*owner, string) (Upgrade, error)) (Upgrade, error) {
	o, err := s.find(c.Service)
	if err != nil {
		return Upgrade{}, err
	}
	ask := c
	ask.Caller, ask.DryRun = Caller{}, false
	body := digest("command", ask)
	var u Upgrade
	err = o.do(ctx, func() error {
		return o.attempt(func() error {
			q, err := o.repeated(c.RequestID, body)
			if err != nil {
				return err
			}
			if q != nil {
				res, err := o.answered(q)
				u = res.Upgrade
				return err
			}
			if err := o.expects(c.ID); err != nil {
				return err
			}
			u, err = f(o, body)
			return err
		})
	})
	return u, err
}

// expects refuses a command that was meant for another upgrade.
func (o *owner) expects(id string) error {
	u := o.rec.State.Upgrade
	if id == "" || (u != nil && u.ID == id) {
		return nil
	}
	if o.rec.upgrade(id) == nil {
		return fmt.Errorf("%w: service %q has no upgrade %s", ErrUpgradeNotFound, o.name, id)
	}
	return fmt.Errorf("%w: upgrade %s of service %q has ended", ErrWrongState, id, o.name)
}

func (o *owner) abort(c UpgradeCommand, body string) (Upgrade, error) {
	message := "aborted by " + c.Actor
	if c.Comment != "" {
		message += ": " + c.Comment
	}
	return o.decide(c, lifecycle.Event{Type: lifecycle.Abort, Message: message}, body)
}

func (o *owner) decide(c UpgradeCommand, e lifecycle.Event, body string) (Upgrade, error) {
	if c.DryRun {
		e.At = o.host.Now()
		after, err := lifecycle.Step(o.rec.State, e)
		if err != nil {
			return Upgrade{}, o.explain(err)
		}
		p := *o.rec.upgrade(after.Upgrade.ID)
		p.Upgrade = *after.Upgrade
		return o.showUpgrade(&p), nil
	}
	if u := o.rec.State.Upgrade; u != nil {
		o.remember(c.RequestID, body, u.ID)
	}
	if err := o.command(e); err != nil {
		return Upgrade{}, o.explain(err)
	}
	return o.showUpgrade(o.rec.upgrade(o.rec.State.Upgrade.ID)), nil
}

// onService runs a command of an operator on a service, once per request id.
func (s *Supervisor) onService(ctx context.Context, verb string, c ServiceCommand, f func(o *owner) error) (Status, error) {
	o, err := s.find(c.Service)
	if err != nil {
		return Status{}, err
	}
	ask := c
	ask.Caller, ask.DryRun = Caller{}, false
	body := digest(verb, ask)
	var st Status
	err = o.do(ctx, func() error {
		return o.attempt(func() error {
			q, err := o.repeated(c.RequestID, body)
			if err != nil {
				return err
			}
			if q == nil {
				if !c.DryRun {
					o.remember(c.RequestID, body, "")
				}
				if err := f(o); err != nil {
					return o.explain(err)
				}
			}
			st = o.status()
			return nil
		})
	})
	return st, err
}

// Stop drains every generation and closes the sockets.
func (s *Supervisor) Stop(ctx context.Context, c ServiceCommand) (Status, error) {
	return s.onService(ctx, "stop", c, func(o *owner) error {
		if c.DryRun || (o.rec.State.Halted && !o.rec.Returns && !c.Now) {
			return nil
		}
		o.rec.Returns = false
		t := lifecycle.Halt
		if c.Now {
			t = lifecycle.HaltNow
		}
		if err := o.command(lifecycle.Event{Type: t}); err != nil {
			return err
		}
		o.report([]Event{{ServiceChanged: &ServiceChanged{Verb: "stopped", Actor: c.Actor, Reason: c.Comment}}})
		return nil
	})
}

// Start runs the last promoted generation of a stopped service again.
func (s *Supervisor) Start(ctx context.Context, c ServiceCommand) (Status, error) {
	return s.onService(ctx, "start", c, func(o *owner) error {
		if o.rec.State.Live() > 0 && !o.rec.State.Halted {
			return nil
		}
		spec, ok := o.rec.spec(o.rec.State.Promoted)
		if !ok {
			return lifecycle.ErrNothingToStart
		}
		e := lifecycle.Event{Type: lifecycle.Resume, ID: newID(), At: o.host.Now(), Policy: policyOf(spec)}
		if c.DryRun {
			_, err := lifecycle.Step(o.rec.State, e)
			return err
		}
		o.rec.Returns = false
		o.rec.Upgrades = append(o.rec.Upgrades, pastUpgrade{
			Upgrade: lifecycle.Upgrade{ID: e.ID}, Actor: c.Actor,
			Comment: c.Comment, RequestID: c.RequestID, CreatedAt: o.wall(),
		})
		if err := o.command(e); err != nil {
			return err
		}
		o.report([]Event{{ServiceChanged: &ServiceChanged{Verb: "started", Actor: c.Actor, Reason: c.Comment}}})
		return nil
	})
}

// Reload asks the active generation to read its configuration again. It says
// whether the program confirmed that.
func (s *Supervisor) Reload(ctx context.Context, c ServiceCommand) (Status, bool, error) {
	o, err := s.find(c.Service)
	if err != nil {
		return Status{}, false, err
	}
	var slot Slot
	var spec service.Spec
	st, err := s.onService(ctx, "reload", c, func(o *owner) error {
		a := o.rec.State.Active()
		if a == nil || !a.Running {
			return fmt.Errorf("%w: service %q has no active generation to reload", ErrWrongState, o.name)
		}
		slot = o.slots[a.Slot].slot
		spec, _ = o.rec.spec(a.Number)
		return nil
	})
	if err != nil || c.DryRun || slot == nil {
		return st, false, err
	}
	confirmed, err := slot.Reload(ctx, spec.Preset)
	if err != nil {
		return st, false, fmt.Errorf("service %q: %w", o.name, err)
	}
	return st, confirmed, nil
}

// Delete forgets a stopped service, its history and its logs.
func (s *Supervisor) Delete(ctx context.Context, c ServiceCommand) error {
	o, err := s.find(c.Service)
	if err != nil {
		return err
	}
	if err := o.do(ctx, func() error { return o.mayChange(nil) }); err != nil {
		return err
	}
	if c.Keep {
		if err := s.letGo(ctx, o, c); err != nil {
			return err
		}
	}
	for closed := false; !closed; {
		// What has ended may still be closing its sockets.
		next := o.changed.wait()
		err = o.do(ctx, func() error {
			if err := o.mayChange(nil); err != nil {
				return err
			}
			closed = len(o.slots) == 0
			switch {
			case o.rec.State.Live() > 0 && (!c.Keep || !c.DryRun):
				return fmt.Errorf("%w: service %q is running: gracectl stop %s", ErrWrongState, o.name, o.name)
			case c.DryRun || !closed:
				return nil
			}
			o.deleted = true
			return s.forget(o.name, o.rec.Floor)
		})
		if err != nil || c.DryRun || closed {
			break
		}
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err != nil || c.DryRun {
		return err
	}
	o.report([]Event{{ServiceChanged: &ServiceChanged{Verb: "deleted", Actor: c.Actor, Reason: c.Comment}}})
	s.drop(o.name)
	o.cancel(ErrServiceNotFound)
	<-o.done
	s.host.Forget(o.name, 0)
	return nil
}

// Drain stops a service without an operator's decision: it starts again with the
// next agent. It returns once every generation has ended.
func (s *Supervisor) Drain(ctx context.Context, name string) error {
	o, err := s.find(name)
	if err != nil {
		return err
	}
	err = o.do(ctx, func() error {
		return o.attempt(func() error {
			o.rec.Returns = o.rec.Returns || !o.rec.State.Halted
			return o.command(lifecycle.Event{Type: lifecycle.HaltOwn})
		})
	})
	for err == nil {
		next := o.changed.wait()
		done := false
		err = o.do(ctx, func() error {
			done = o.rec.State.Live() == 0 && len(o.slots) == 0
			if !done {
				return nil
			}
			o.rec.BootID = "" // the next agent starts it like after a reboot
			return o.save()
		})
		if done || err != nil {
			return err
		}
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return err
}
