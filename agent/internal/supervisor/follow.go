package supervisor

import (
	"context"
	"time"
)

// countEvery is how often somebody who watches sees fresh connection counts.
const countEvery = time.Second

// Get is a service as it stands, with fresh connection counts.
func (s *Supervisor) Get(ctx context.Context, name string) (Status, error) {
	o, err := s.find(name)
	if err != nil {
		return Status{}, err
	}
	return o.fresh(ctx), nil
}

// List is every service, by name.
func (s *Supervisor) List(ctx context.Context) ([]Status, error) {
	var out []Status
	for _, o := range s.all() {
		out = append(out, o.fresh(ctx))
	}
	return out, nil
}

// Generations lists all generations that are remembered, newest first.
func (s *Supervisor) Generations(ctx context.Context, name string) ([]Generation, error) {
	o, err := s.find(name)
	if err != nil {
		return nil, err
	}
	var out []Generation
	err = o.do(ctx, func() error { out = o.generations(-1); return nil })
	return out, err
}

// Upgrades lists all upgrades that are remembered, newest first.
func (s *Supervisor) Upgrades(ctx context.Context, name string) ([]Upgrade, error) {
	o, err := s.find(name)
	if err != nil {
		return nil, err
	}
	var out []Upgrade
	err = o.do(ctx, func() error {
		for i := len(o.rec.Upgrades) - 1; i >= 0; i-- {
			out = append(out, o.showUpgrade(&o.rec.Upgrades[i]))
		}
		return nil
	})
	return out, err
}

// fresh is the snapshot with the connections of the generations that nobody
// counts all the time.
func (o *owner) fresh(ctx context.Context) Status {
	st := *o.snapshot.Load()
	slots := map[int]Slot{}
	if o.do(ctx, func() error {
		st = *o.snapshot.Load()
		for n, sl := range o.slots {
			if sl.slot != nil {
				slots[n] = sl.slot
			}
		}
		return nil
	}) != nil {
		return st
	}
	gens := make([]Generation, len(st.Generations))
	copy(gens, st.Generations)
	for i := range gens {
		g := &gens[i]
		slot := slots[g.Slot]
		if g.State.Ended() || slot == nil || g.Drain != nil {
			continue
		}
		if c, err := slot.Count(ctx); err == nil {
			g.Connections = known(c.Open)
		}
	}
	st.Generations = gens
	return st
}

// Watch calls fn with a service as it stands, at once and after every change but
// not more often than the interval; "" means every service. It ends with ctx, or
// when fn fails. A reader that is slow sees the latest state, not every one.
func (s *Supervisor) Watch(ctx context.Context, name string, interval time.Duration, fn func(st Status, deleted string) error) error {
	if name == "" {
		return s.watchAll(ctx, interval, fn)
	}
	o, err := s.find(name)
	if err != nil {
		return err
	}
	return o.watchStatus(ctx, interval, fn)
}

func (o *owner) watchStatus(ctx context.Context, interval time.Duration, fn func(Status, string) error) error {
	for {
		next := o.changed.wait()
		if err := fn(o.fresh(ctx), ""); err != nil {
			return err
		}
		if err := sleep(ctx, interval); err != nil {
			return err
		}
		tick := time.NewTimer(countEvery)
		select {
		case <-next:
		case <-tick.C:
		case <-ctx.Done():
		}
		tick.Stop()
		select {
		case <-o.done:
			return o.gone(fn)
		default:
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

func (o *owner) gone(fn func(Status, string) error) error {
	if o.sup.ctx.Err() != nil {
		return ErrClosed
	}
	return fn(Status{}, o.name)
}

// watchAll looks at every service once an interval; it is for people at a
// screen, so changes within one interval are told together.
func (s *Supervisor) watchAll(ctx context.Context, interval time.Duration, fn func(Status, string) error) error {
	known := map[string]bool{}
	for {
		now := map[string]bool{}
		for _, o := range s.all() {
			now[o.name] = true
			if err := fn(o.fresh(ctx), ""); err != nil {
				return err
			}
		}
		for name := range known {
			if !now[name] {
				if err := fn(Status{}, name); err != nil {
					return err
				}
			}
		}
		known = now
		if err := sleep(ctx, max(interval, countEvery)); err != nil {
			return err
		}
	}
}
