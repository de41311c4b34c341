package claim

import (
	"errors"
	"fmt"
	"time"
)

// What a driver can be refused for. Callers test with errors.Is.
var (
	ErrClaimed   = errors.New("a rollout has claimed the service")
	ErrDriven    = errors.New("another driver has the rollout's lease")
	ErrOvertaken = errors.New("a later driver has taken the rollout over")
	ErrNotFound  = errors.New("no such rollout")
	ErrMoving    = errors.New("the rollout's upgrade is in progress")
)

// refusal is one of the errors above, with what programs want to know.
type refusal struct {
	error
	metadata map[string]string
}

func (r *refusal) Unwrap() error { return r.error }

// Metadata is who is in the way, for programs.
func (r *refusal) Metadata() map[string]string { return r.metadata }

// Refused is the refusal of a change of a service by anyone but whoever drives the
// rollout that has it; nil while none has it.
func (b Book) Refused() error {
	if b.Held == nil {
		return nil
	}
	return claimed(b.Held)
}

func claimed(c *Claim) error {
	since := c.ClaimedAt.Format(time.RFC3339)
	how := fmt.Sprintf("driven by %s, since %s: wait until it ends, or end it with gracectl rollout abort", c.Driver, since)
	if c.Released() {
		how = "which has ended, did something else: give this one another id"
	}
	return &refusal{
		fmt.Errorf("%w: rollout %s of %s, %s", ErrClaimed, c.Rollout, c.Actor, how),
		map[string]string{"rollout": c.Rollout, "spec_hash": c.SpecHash, "driver": c.Driver, "actor": c.Actor, "time": since},
	}
}

func driven(c *Claim, until time.Time) error {
	end := until.Format(time.RFC3339)
	return &refusal{
		fmt.Errorf("%w: %s, until %s unless it is renewed: watch it, wait, or take it over and say why", ErrDriven, c.Driver, end),
		map[string]string{"driver": c.Driver, "time": end},
	}
}

func overtaken(c *Claim) error {
	return &refusal{
		fmt.Errorf("%w: %s has taken rollout %s over", ErrOvertaken, c.Driver, c.Rollout),
		map[string]string{"driver": c.Driver},
	}
}

func notFound(rollout string) error {
	return fmt.Errorf("%w: the service is not claimed by rollout %q", ErrNotFound, rollout)
}

func moving(c *Claim) error {
	return fmt.Errorf("%w: rollout %s is given up once the host has arrived, or went back", ErrMoving, c.Rollout)
}
