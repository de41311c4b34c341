package supervisor

import (
	"context"
	"fmt"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Rollback returns to an earlier good generation. Without a target, during an
// upgrade, it is an abort.
func (s *Supervisor) Rollback(ctx context.Context, r RollbackRequest) (UpgradeResult, error) {
	o, err := s.find(r.Service)
	if err != nil {
		return UpgradeResult{}, err
	}
	var res UpgradeResult
	err = o.do(ctx, func() error {
		return o.attempt(func() error {
			res, err = o.rollback(r)
			return err
		})
	})
	return res, err
}

func (o *owner) rollback(r RollbackRequest) (UpgradeResult, error) {
	ask := r
	ask.Caller, ask.DryRun = Caller{}, false
	body := digest("rollback", ask)
	if q, err := o.repeated(r.RequestID, body); err != nil {
		return UpgradeResult{}, err
	} else if q != nil {
		return o.answered(q)
	}
	if r.by != nil {
		if err := o.mayChange(r.by); err != nil {
			return UpgradeResult{}, err
		}
	}
	bare := r.by == nil && r.Generation == 0 && r.Back == 0 && r.Artifact == "" && r.Version == ""
	if o.rec.State.Upgrading() && bare {
		u, err := o.abort(UpgradeCommand{Caller: r.Caller, DryRun: r.DryRun}, body)
		return UpgradeResult{Upgrade: u, Aborted: true}, err
	}
	a := o.rec.State.Active()
	if a == nil {
		return UpgradeResult{}, fmt.Errorf("%w: service %q has no active generation to go back from", ErrWrongState, o.name)
	}
	target, err := o.rollbackTarget(a.Number, r)
	if err != nil {
		return UpgradeResult{}, err
	}
	p := o.rec.generation(target)
	spec := *p.Spec
	if target == a.Number || o.sameOrigin(target, a.Number) {
		u := Upgrade{Service: o.name, State: lifecycle.UpgradeSucceeded, Kind: lifecycle.KindRollback, From: a.Number, To: a.Number, Artifact: spec.Artifact}
		return UpgradeResult{Upgrade: u, Unchanged: true}, nil
	}
	own, _ := o.rec.spec(a.Number)
	changes := service.Diff(own, spec)
	if err := o.overlapsLive(spec); err != nil {
		return UpgradeResult{}, err
	}
	b := begin{Caller: r.Caller, kind: lifecycle.KindRollback, spec: spec, version: p.Version, target: target, body: body, admission: admission{Release: p.Release}, by: r.by}
	if r.DryRun {
		return o.wouldBegin(b, changes, true)
	}
	u, err := o.begin(b)
	return UpgradeResult{Upgrade: u, Changes: changes}, err
}

func (o *owner) sameOrigin(a, b int) bool {
	origin := func(n int) int {
		for p := o.rec.generation(n); p != nil && p.RollbackOf != 0; p = o.rec.generation(n) {
			n = p.RollbackOf
		}
		return n
	}
	return origin(a) == origin(b)
}

// predecessor is the generation that a rollout found. It is returned to also if it was
// rolled back from since: by that rollout.
func (o *owner) predecessor(number int) (int, error) {
	if p := o.rec.generation(number); p != nil {
		was := *p
		was.Good = true
		if o.good(&was) {
			return number, nil
		}
	}
	return 0, fmt.Errorf("%w: service %q: generation %d, which ran before the rollout, is no longer kept", ErrNoRollbackTarget, o.name, number)
}

func (o *owner) rollbackTarget(active int, r RollbackRequest) (int, error) {
	if r.by != nil && r.Generation != 0 {
		return o.predecessor(r.Generation)
	}
	q := lifecycle.Query{Number: r.Generation, Back: r.Back, Artifact: r.Artifact, Version: r.Version}
	target, _, ok := lifecycle.RollbackTarget(o.past(), active, q)
	if ok {
		return target, nil
	}
	if p := o.rec.generation(r.Generation); r.Generation != 0 && p == nil {
		return 0, fmt.Errorf("%w: service %q has no generation %d", ErrGenerationNotFound, o.name, r.Generation)
	}
	if r.Generation != 0 {
		return 0, fmt.Errorf("%w: service %q: generation %d failed, was rolled back from, or is no longer kept", ErrNoRollbackTarget, o.name, r.Generation)
	}
	return 0, fmt.Errorf("%w: service %q; gracectl history %s lists its generations", ErrNoRollbackTarget, o.name, o.name)
}
