package supervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/claim"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// ClaimRequest asks for a service, for a rollout.
type ClaimRequest struct {
	Caller
	Service  string
	Rollout  string
	Spec     []byte // the rollout, whole; empty when the host has it
	SpecHash string
	Change   *claim.Change // nil when the host has it, and for none
	OnOrphan claim.OnOrphan
	Driver   string
	Lease    time.Duration
	TakeOver bool
	Epoch    int64 // least one of the lease
	Admin    bool  // the caller may declare the service
}

// ClaimRollout gives a service to a rollout, and the lease to a driver. The bytes are
// the rollout's where the request brings none.
func (s *Supervisor) ClaimRollout(ctx context.Context, r ClaimRequest) (Rollout, []byte, error) {
	o, err := s.find(r.Service)
	if err != nil {
		return Rollout{}, nil, err
	}
	if r.Change != nil {
		change := *r.Change
		change.Root = r.Root
		r.Change = &change
	}
	s.rollouts.Lock() // what was written is not swept away before it is claimed
	defer s.rollouts.Unlock()
	digest := ""
	err = o.do(ctx, func() error {
		if known := o.rec.Rollouts.Find(r.Rollout); known != nil {
			digest = known.Spec
		}
		_, err := o.mayClaim(r)
		return err
	})
	if err != nil {
		return Rollout{}, nil, err
	}
	if digest == "" {
		if digest, err = s.keepSpec(r.Spec); err != nil {
			return Rollout{}, nil, err
		}
		defer s.sweepRollouts(ctx)
	}
	err = o.do(ctx, func() error {
		return o.attempt(func() error { return o.claim(r, digest) })
	})
	if err != nil {
		return Rollout{}, nil, err
	}
	var spec []byte
	if len(r.Spec) == 0 {
		if spec, err = s.records.ReadRollout(digest); err != nil {
			return Rollout{}, nil, err
		}
	}
	report, err := o.rollout(ctx, r.Rollout)
	return report, spec, err
}

func (s *Supervisor) keepSpec(spec []byte) (digest string, err error) {
	if len(spec) == 0 {
		return "", &service.InvalidError{Violations: []service.Violation{{Field: "spec", Reason: "is missing: this host does not have the rollout"}}}
	}
	return s.records.WriteRollout(spec)
}

// sweepRollouts removes the rollouts that no service has a part in. The mutex is held.
func (s *Supervisor) sweepRollouts(ctx context.Context) {
	used := map[string]bool{}
	for _, o := range s.all() {
		err := o.do(ctx, func() error {
			for _, c := range o.rec.Rollouts.All() {
				used[c.Spec] = true
			}
			return nil
		})
		if err != nil {
			return // it cannot say what it uses
		}
	}
	if err := s.records.KeepRollouts(used); err != nil {
		s.log.Warn("rollouts that nobody needs could not be removed", "error", err)
	}
}

// claim gives the service to a rollout. It runs inside attempt.
func (o *owner) claim(r ClaimRequest, digest string) error {
	unchanged, err := o.mayClaim(r)
	if err != nil {
		return err
	}
	if o.rec.Rollouts, err = o.rec.Rollouts.Claim(o.ask(r, digest), o.wall()); err != nil {
		return err
	}
	if unchanged {
		o.rec.Rollouts = o.rec.Rollouts.Settle(claim.Unchanged, "", "", o.wall())
	}
	if err := o.keepLeased(); err != nil {
		return err
	}
	o.log.Info("claimed by a rollout", "rollout", r.Rollout, "driver", r.Driver, "actor", r.Actor, "epoch", o.rec.Rollouts.Epoch, "comment", r.Comment)
	o.renewLease()
	return nil
}

// RenewRollout keeps a lease.
func (s *Supervisor) RenewRollout(ctx context.Context, service string, d claim.Driver) (Rollout, error) {
	return s.asDriver(ctx, service, d, (*owner).drive)
}

// EndLease ends a lease whose driver leaves. The claim stays.
func (s *Supervisor) EndLease(ctx context.Context, service string, d claim.Driver) (Rollout, error) {
	return s.asDriver(ctx, service, d, (*owner).endLease)
}

func (s *Supervisor) asDriver(ctx context.Context, service string, d claim.Driver, do func(*owner, claim.Driver) error) (Rollout, error) {
	o, err := s.find(service)
	if err != nil {
		return Rollout{}, err
	}
	if err := o.do(ctx, func() error { return do(o, d) }); err != nil {
		return Rollout{}, err
	}
	return o.rollout(ctx, d.Rollout)
}

// drive lets nobody but the driver with the latest lease go on, and keeps that.
func (o *owner) drive(d claim.Driver) error {
	return o.attempt(func() error {
		book, err := o.rec.Rollouts.Renew(d)
		if err != nil {
			return fmt.Errorf("service %q: %w", o.name, err)
		}
		regained := !o.rec.Rollouts.Held.Leased
		o.rec.Rollouts = book
		if o.observe() || regained {
			if err := o.keepLeased(); err != nil {
				return err
			}
		}
		o.renewLease()
		return nil
	})
}

// ControlRollout leaves a word for a rollout's driver, and says whether somebody hears
// it.
func (s *Supervisor) ControlRollout(ctx context.Context, service, rollout string, w claim.Word) (r Rollout, driven bool, err error) {
	o, err := s.find(service)
	if err != nil {
		return Rollout{}, false, err
	}
	err = o.do(ctx, func() error {
		return o.attempt(func() error {
			if o.rec.Rollouts, err = o.rec.Rollouts.Control(rollout, w); err != nil {
				return fmt.Errorf("service %q: %w", o.name, err)
			}
			driven = o.rec.Rollouts.Held.Leased
			return o.keepClaim()
		})
	})
	if err != nil {
		return Rollout{}, false, err
	}
	r, err = o.rollout(ctx, rollout)
	return r, driven, err
}

// ReleaseRollout gives a claim up.
func (s *Supervisor) ReleaseRollout(ctx context.Context, service string, d claim.Driver, ending string) (Rollout, error) {
	o, err := s.find(service)
	if err != nil {
		return Rollout{}, err
	}
	err = o.do(ctx, func() error {
		return o.attempt(func() error {
			o.observe()
			if o.rec.Rollouts, err = o.rec.Rollouts.Release(d, ending, o.wall()); err != nil {
				return fmt.Errorf("service %q: %w", o.name, err)
			}
			o.log.Info("given up by a rollout", "rollout", d.Rollout, "ending", ending)
			return o.keepClaim()
		})
	})
	if err != nil {
		return Rollout{}, err
	}
	s.rollouts.Lock()
	defer s.rollouts.Unlock()
	s.sweepRollouts(ctx)
	return o.rollout(ctx, d.Rollout)
}
