package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/claim"
)

// Rollout is a service's part in a rollout, as it stands.
type Rollout struct {
	claim.Claim
	Service string
	Missing []string // digests of what the change needs and the host lacks
	Weight  int      // of the rollout's generation, in basis points
	// Left is how many connections the predecessor still has; nil when it is gone, or
	// that cannot be known.
	Left *int
	// LeaseEnd is when the lease ends; zero without one.
	LeaseEnd time.Time
}

// GetRollout is a service's part in a rollout, and the whole; "" means the one that has
// the service, else the last.
func (s *Supervisor) GetRollout(ctx context.Context, service, rollout string) (Rollout, []byte, error) {
	o, err := s.find(service)
	if err != nil {
		return Rollout{}, nil, err
	}
	r, err := o.rollout(ctx, rollout)
	if err != nil {
		return Rollout{}, nil, err
	}
	spec, err := s.records.ReadRollout(r.Spec)
	return r, spec, err
}

// Rollouts are the parts of a service in rollouts, or of all of them, newest first.
func (s *Supervisor) Rollouts(ctx context.Context, service string) ([]Rollout, error) {
	owners := s.all()
	if service != "" {
		o, err := s.find(service)
		if err != nil {
			return nil, err
		}
		owners = []*owner{o}
	}
	var out []Rollout
	for _, o := range owners {
		err := o.do(ctx, func() error {
			for _, c := range o.rec.Rollouts.All() {
				out = append(out, o.showRollout(c))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(out, func(a, b Rollout) int {
		switch {
		case a.Released() && !b.Released():
			return 1
		case b.Released() && !a.Released():
			return -1
		}
		return cmp.Or(b.ClaimedAt.Compare(a.ClaimedAt), cmp.Compare(a.Service, b.Service))
	})
	return out, nil
}

// rollout is one part as it stands, with the connections that the predecessor has left.
func (o *owner) rollout(ctx context.Context, id string) (Rollout, error) {
	var r Rollout
	err := o.do(ctx, func() error {
		if err := o.attempt(o.lookUp); err != nil {
			return err
		}
		c := o.rec.Rollouts.Find(id)
		if all := o.rec.Rollouts.All(); id == "" && len(all) > 0 {
			c = &all[0]
		}
		if c == nil {
			return fmt.Errorf("service %q: %w: it has no part in rollout %q", o.name, claim.ErrNotFound, id)
		}
		r = o.showRollout(*c)
		return nil
	})
	if err != nil || r.Released() || r.Generation == 0 {
		return r, err
	}
	st := o.fresh(ctx, shareFor)
	for _, g := range st.Generations {
		if g.Number == r.Predecessor && !g.State.Ended() {
			r.Left = g.Connections
		}
	}
	return r, nil
}

// lookUp writes down what came to be without the owner's doing: what was pushed.
func (o *owner) lookUp() error {
	if !o.observe() {
		return nil
	}
	return o.keepClaim()
}

func (o *owner) showRollout(c claim.Claim) Rollout {
	r := Rollout{Claim: c, Service: o.name}
	if c.Released() {
		return r
	}
	if c.Leased {
		r.LeaseEnd = o.when(o.leaseEnd)
	}
	if c.Progress == claim.Claimed {
		r.Missing = o.missing(&c)
	}
	if g := o.rec.State.Generation(c.Generation); g != nil {
		r.Weight = o.rec.State.Weights()[g.Slot]
	}
	return r
}

// WatchRollout calls fn with a service's part in a rollout, at once and after every
// change but not more often than the interval. It ends when the claim was given up and
// that is told, with ctx, or when fn fails.
func (s *Supervisor) WatchRollout(ctx context.Context, service, rollout string, interval time.Duration, fn func(Rollout) error) error {
	o, err := s.find(service)
	if err != nil {
		return err
	}
	var last Rollout
	for {
		next := o.changed.wait()
		r, err := o.rollout(ctx, rollout)
		if err != nil {
			return err
		}
		if !r.same(last) {
			if err := fn(r); err != nil || r.Released() {
				return err
			}
			last = r
		}
		if err := awaitChange(ctx, next, interval); err != nil {
			return err
		}
	}
}

// same says that nothing has changed but when the lease ends.
func (r Rollout) same(o Rollout) bool {
	r.LeaseEnd, o.LeaseEnd = time.Time{}, time.Time{}
	return reflect.DeepEqual(r, o)
}
