package supervisor

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gracefleet/gracefleet/internal/pause"
)

// countEvery is how often somebody who watches sees fresh connection counts.
const countEvery = time.Second

// shareFor is how old the counts may be that somebody who watches is shown.
const shareFor = 200 * time.Millisecond

// Get is a service as it stands, with fresh connection counts.
func (s *Supervisor) Get(ctx context.Context, name string) (Status, error) {
	o, err := s.find(name)
	if err != nil {
		return Status{}, err
	}
	return o.fresh(ctx, 0), nil
}

// List is every service, by name.
func (s *Supervisor) List(ctx context.Context) ([]Status, error) {
	var out []Status
	for _, o := range s.all() {
		out = append(out, o.fresh(ctx, 0))
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

// look is a status with its connections counted.
type look struct {
	status Status
	of     *Status // the snapshot it is of
	began  time.Time
}

// holds says whether a look serves somebody who asks now: it began after that, or
// shortly before and nothing else has changed.
func (l *look) holds(asked time.Time, age time.Duration, now *Status) bool {
	return l.began.After(asked) || l.of == now && l.began.After(asked.Add(-age))
}

// looks shares the last one among all who ask at about the same time: each walks
// the kernel's table of all connections.
type looks struct {
	mu   sync.Mutex
	last look
}

// fresh is the snapshot with the connections of the generations that nobody counts
// all the time, as they are, or were no longer than age ago.
func (o *owner) fresh(ctx context.Context, age time.Duration) Status {
	asked := time.Now()
	o.looks.mu.Lock()
	defer o.looks.mu.Unlock()
	if last := &o.looks.last; last.holds(asked, age, o.snapshot.Load()) {
		return last.status
	}
	l, err := o.look(ctx)
	if err == nil {
		o.looks.last = l
	}
	return l.status
}

func (o *owner) look(ctx context.Context) (look, error) {
	l := look{of: o.snapshot.Load(), began: time.Now()}
	slots := map[int]Slot{}
	err := o.do(ctx, func() error {
		l.of = o.snapshot.Load()
		for n, sl := range o.slots {
			if sl.slot != nil {
				slots[n] = sl.slot
			}
		}
		return nil
	})
	l.status = *l.of
	l.status.Look = o.sup.looked.Add(1)
	if err != nil {
		return l, err
	}
	l.status.Generations = slices.Clone(l.status.Generations)
	for i := range l.status.Generations {
		g := &l.status.Generations[i]
		slot := slots[g.Slot]
		if g.State.Ended() || slot == nil || g.Drain != nil {
			continue
		}
		c, err := slot.Count(ctx)
		if ctx.Err() != nil {
			return l, ctx.Err()
		}
		if err == nil {
			g.Connections = known(c.Open)
		}
	}
	return l, nil
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
		if err := fn(o.fresh(ctx, shareFor), ""); err != nil {
			return err
		}
		if err := awaitChange(ctx, next, interval); err != nil {
			return err
		}
		select {
		case <-o.done:
			return o.gone(fn)
		default:
		}
	}
}

// awaitChange returns after a change, or when connections are to be counted anew, but
// not before the interval is over.
func awaitChange(ctx context.Context, change <-chan struct{}, interval time.Duration) error {
	if err := pause.For(ctx, interval); err != nil {
		return err
	}
	tick := time.NewTimer(countEvery)
	defer tick.Stop()
	select {
	case <-change:
	case <-tick.C:
	case <-ctx.Done():
	}
	return context.Cause(ctx)
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
			if err := fn(o.fresh(ctx, shareFor), ""); err != nil {
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
		if err := pause.For(ctx, max(interval, countEvery)); err != nil {
			return err
		}
	}
}
