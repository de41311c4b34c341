package supervisor

import (
	"context"
	"errors"
	"fmt"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
)

// Adopt makes a program that somebody else started the active generation of a
// service: its listeners become a slot, and from then on the service is upgraded
// like any other. The program notices nothing.
func (s *Supervisor) Adopt(ctx context.Context, r AdoptRequest) (AdoptResult, error) {
	r.Spec = r.Spec.WithDefaults()
	if err := r.Spec.Validate(); err != nil {
		return AdoptResult{}, err
	}
	if r.Spec.Upgrade.NoOverlap {
		return AdoptResult{}, fmt.Errorf("%w: %w", ErrNotAdoptable, lifecycle.ErrNotAlone)
	}
	s.declare.Lock()
	defer s.declare.Unlock()
	if o, err := s.find(r.Spec.Name); err == nil {
		if res, done, err := o.adoptedBefore(ctx, r); err != nil || done {
			return res, err
		}
	}
	if err := s.addressesFree(ctx, r.Spec); err != nil {
		return AdoptResult{}, err
	}
	adm, err := s.admitFirst(ctx, r.Spec, r.Caller, r.Signing)
	if err != nil {
		return AdoptResult{}, err
	}
	x, err := s.host.FindProgram(ctx, r.Spec, r.Unit, r.PID)
	if err != nil {
		return AdoptResult{}, err
	}
	version, err := s.host.Vet(ctx, r.Spec)
	if r.DryRun && errors.Is(err, ErrArtifactNotFound) {
		err = nil // it is pushed only in earnest
	}
	if err != nil {
		return AdoptResult{}, err
	}
	if r.DryRun {
		return AdoptResult{Status: Status{Name: r.Spec.Name, Spec: r.Spec, State: Running}, Program: x}, nil
	}
	return s.takeOver(ctx, r, x, version, adm)
}

func (r AdoptRequest) body() string {
	r.Caller, r.DryRun = Caller{}, false
	return digest("adopt", r)
}

// adoptedBefore answers a request that was carried out, and refuses one that a
// service's own generations stand against.
func (o *owner) adoptedBefore(ctx context.Context, r AdoptRequest) (res AdoptResult, done bool, err error) {
	err = o.do(ctx, func() error {
		q, err := o.repeated(r.RequestID, r.body())
		if err != nil {
			return err
		}
		if q == nil && o.rec.Rollouts.Held != nil {
			return o.mayChange(nil)
		}
		if q == nil && (o.rec.State.Live() > 0 || o.rec.State.Promoted != 0) {
			return o.explain(lifecycle.ErrHasOwn)
		}
		res.Status, done = o.status(), q != nil
		if q == nil {
			return nil
		}
		again, err := o.answered(q)
		if p := o.rec.generation(again.Upgrade.To); p != nil && p.External != nil {
			res.Program = *p.External
		}
		res.Upgrade = &again.Upgrade
		return err
	})
	return res, done, err
}

func (s *Supervisor) takeOver(ctx context.Context, r AdoptRequest, x External, version string, adm admission) (AdoptResult, error) {
	res := AdoptResult{Program: x}
	adopt := func(o *owner) error {
		o.recordSpec(r.Spec, r.Actor)
		o.rec.Signature = adm.signature
		u, err := o.begin(begin{Caller: r.Caller, kind: lifecycle.KindAdopt, spec: r.Spec, version: version, body: r.body(), external: &x})
		if err != nil {
			return err
		}
		o.report([]Event{{ServiceChanged: &ServiceChanged{Verb: "adopted", Actor: r.Actor, Reason: r.Comment}}})
		res.Status, res.Upgrade = o.status(), &u
		return nil
	}
	o, err := s.find(r.Spec.Name)
	if err == nil {
		err = o.do(ctx, func() error {
			if err := o.mayChange(nil); err != nil {
				return err
			}
			if adm, err = s.admitDeclared(&o.rec, r.Spec, r.Caller, r.Signing, o.wall()); err != nil {
				return err
			}
			return o.attempt(func() error { return adopt(o) })
		})
		return res, err
	}
	err = s.found(ctx, s.newRecord(r.Spec, r.Actor, adm), adopt)
	return res, err
}

// external is the adopted program that a generation is, or nil.
func (o *owner) external(generation int) *External {
	return o.rec.externalOf(o.rec.State.Generation(generation))
}

func (r *record) externalOf(g *lifecycle.Generation) *External {
	if g == nil || !g.External {
		return nil
	}
	if p := r.generation(g.Number); p != nil {
		return p.External
	}
	return nil
}

// takenBy is the adopted program whose listeners a generation's slot gets.
func (r *record) takenBy(g *lifecycle.Generation) *External {
	if g.State.Ended() {
		return nil
	}
	return r.externalOf(g)
}

// handedOver notes the process in which an adopted program goes on.
func (o *owner) handedOver(e lifecycle.Effect, x External) {
	if p := o.rec.generation(e.Generation); p != nil {
		p.External = &x
	}
	o.vitals(e.Generation).pid = x.PID
	o.notice(e.Generation, false, fmt.Sprintf("the adopted program handed over to process %d", x.PID))
	o.saveOrder()
}

// leftUnit is the adopted program in whose place an instance runs that is ready: it
// ended untold, and its unit must not start it beside the agent's.
func (o *owner) leftUnit(e lifecycle.Effect) *External {
	g, p := o.rec.State.Generation(e.Generation), o.rec.generation(e.Generation)
	if g == nil || g.External || p == nil || p.External == nil || p.External.Replaced {
		return nil
	}
	return p.External
}

// succeed makes the agent's program the only one of the generation, once it has
// proved itself.
func (o *owner) succeed(e lifecycle.Effect) {
	x := o.leftUnit(e)
	if x == nil {
		return
	}
	replaced := *x
	replaced.Replaced = true
	o.rec.generation(e.Generation).External = &replaced
	o.saveOrder()
	o.aside(e.Slot, func(ctx context.Context) { o.retire(ctx, e.Generation, *x) })
}

// aside does something that the slot's next effects wait for.
func (o *owner) aside(slot int, f func(ctx context.Context)) {
	t := &task{cancel: func() {}, done: make(chan struct{})}
	o.ending[slot] = append(o.ending[slot], t)
	go func() {
		defer close(t.done)
		f(o.ctx)
	}()
}

// boot decides who starts an adopted program at the next boot: its unit, until it is
// superseded.
func (o *owner) boot(e lifecycle.Effect) func(context.Context) {
	x := o.external(e.Generation)
	return func(ctx context.Context) {
		if x == nil || x.Unit == "" {
			return
		}
		if err := o.host.Boot(ctx, *x, !e.Force); err != nil && ctx.Err() == nil {
			o.post(ctx, func() { o.notice(e.Generation, true, fmt.Sprintf("%s at boot: %v", x.Unit, err)) })
		}
	}
}

// bootedBeside is what a reboot makes of adopted programs: one that nothing had
// replaced is its unit's, and any other's unit is not to start it any more.
func (o *owner) bootedBeside() {
	for i := range o.rec.Generations {
		p := &o.rec.Generations[i]
		switch {
		case p.External == nil || p.External.Replaced || p.External.Retired || o.rec.State.Halted:
		case p.Number == o.rec.State.Promoted:
			o.rec.State.Promoted = 0
			o.notice(p.Number, true, fmt.Sprintf("the host restarted before an upgrade had replaced %v: whoever started it does so again; gracectl adopt takes it over", *p.External))
		case p.Good:
			number, x := p.Number, *p.External
			o.aside(0, func(ctx context.Context) { o.retire(ctx, number, x) })
		}
	}
}

// retire has a unit give its program up for good.
func (o *owner) retire(ctx context.Context, generation int, x External) {
	if x.Unit == "" {
		return
	}
	err := o.host.Retire(ctx, x)
	if ctx.Err() != nil {
		return
	}
	o.post(ctx, func() {
		if err != nil {
			o.notice(generation, true, fmt.Sprintf("%s may start its program again: %v", x.Unit, err))
			return
		}
		if p := o.rec.generation(generation); p != nil && p.External != nil {
			retired := *p.External
			retired.Retired = true
			p.External = &retired
			o.saveOrder()
		}
		o.notice(generation, false, x.Unit+" is disabled and told to stop: the service is graced's from now on")
	})
}

// letGo gives an adopted program up. It runs on, its unit's as before.
func (s *Supervisor) letGo(ctx context.Context, o *owner, c ServiceCommand) error {
	return o.do(ctx, func() error {
		return o.attempt(func() error {
			if o.rec.State.Live() == 0 {
				return nil // by an earlier call
			}
			e := lifecycle.Event{Type: lifecycle.LetGo, At: o.host.Now(), Message: "given up by " + c.Actor + ": its program runs on"}
			if c.DryRun {
				_, err := lifecycle.Step(o.rec.State, e)
				return o.explain(err)
			}
			return o.explain(o.command(e))
		})
	})
}
