package claim

import (
	"slices"
	"time"
)

// Book is all that a service knows of rollouts. Nobody changes one that another has:
// claims are copied before they are written to.
type Book struct {
	// Epoch is the highest that a lease was given.
	Epoch int64   `json:"epoch,omitempty"`
	Held  *Claim  `json:"held,omitempty"`
	Past  []Claim `json:"past,omitempty"` // given up, the last one last
}

// Ask is a driver's request for a service.
type Ask struct {
	Rollout  string
	SpecHash string
	Spec     string  // digest; empty when the book has the rollout
	Change   *Change // nil when the claim has it, and for one without
	OnOrphan OnOrphan
	Driver   string
	Lease    time.Duration
	TakeOver bool  // from a driver with a lease
	Epoch    int64 // least one of the lease
	Actor    string
	Admin    bool // Actor may declare the service
	Comment  string
	// Predecessor is the generation that is active.
	Predecessor int
	// LeaseEnd is when the lease under way ends, for whoever is told of it.
	LeaseEnd time.Time
}

// Find is the claim of a rollout, held or given up; nil without one.
func (b Book) Find(rollout string) *Claim {
	if b.Held != nil && b.Held.Rollout == rollout {
		return b.Held
	}
	for i := range slices.Backward(b.Past) {
		if b.Past[i].Rollout == rollout {
			return &b.Past[i]
		}
	}
	return nil
}

// All are the claims: the one that is held, then the past ones, the last one first.
func (b Book) All() []Claim {
	var out []Claim
	if b.Held != nil {
		out = append(out, *b.Held)
	}
	for _, c := range slices.Backward(b.Past) {
		out = append(out, c)
	}
	return out
}

// MayClaim refuses a request that somebody else's claim or lease stands against, or one
// that calls something else by the name of a rollout that the book has.
func (b Book) MayClaim(a Ask) error {
	if c := b.Held; c != nil && c.Rollout != a.Rollout {
		return claimed(c)
	}
	switch c := b.Find(a.Rollout); {
	case c == nil:
		return nil
	case c.SpecHash != a.SpecHash:
		return claimed(c)
	case c.Leased && c.Driver != a.Driver && !a.TakeOver:
		return driven(c, a.LeaseEnd)
	}
	return nil
}

// Claim gives the service to a rollout and the lease to a driver. One that was given up
// is taken again as it was left. Who has the lease already keeps its epoch.
func (b Book) Claim(a Ask, now time.Time) (Book, error) {
	if err := b.MayClaim(a); err != nil {
		return b, err
	}
	c := Claim{
		Rollout: a.Rollout, SpecHash: a.SpecHash, Spec: a.Spec, OnOrphan: a.OnOrphan, Actor: a.Actor, Admin: a.Admin, Comment: a.Comment,
		Predecessor: a.Predecessor, ClaimedAt: now, Progress: Claimed,
	}
	if known := b.Find(a.Rollout); known != nil {
		c = *known
		b.Past = slices.DeleteFunc(slices.Clone(b.Past), func(p Claim) bool { return p.Rollout == a.Rollout })
	}
	c.ReleasedAt, c.Ending = time.Time{}, ""
	if c.Change == nil {
		c.Change = a.Change
	}
	if !c.Leased || c.Driver != a.Driver {
		c.Epoch = b.Epoch + 1
	}
	c.Epoch = max(c.Epoch, a.Epoch)
	c.Driver, c.Lease, c.Leased = a.Driver, a.Lease, true
	c.Revision++
	b.Held, b.Epoch = &c, c.Epoch
	return b, nil
}

// Driven is the claim that a driver has the latest lease of, or why they have none.
func (b Book) Driven(d Driver) (*Claim, error) {
	c := b.Find(d.Rollout)
	switch {
	case c != nil && c.Epoch != d.Epoch:
		return nil, overtaken(c) // also by one who has given it up since
	case c == nil || c.Released():
		return nil, notFound(d.Rollout)
	}
	return c, nil
}

// Renew has the driver's lease go on. What is written changes only where it had ended.
func (b Book) Renew(d Driver) (Book, error) {
	c, err := b.Driven(d)
	if err != nil || c.Leased {
		return b, err
	}
	return b.with(func(c *Claim) { c.Leased = true }), nil
}

// LeaseEnded says that the lease is over. Its epoch still counts, until a later one is
// given.
func (b Book) LeaseEnded() Book { return b.with(func(c *Claim) { c.Leased = false }) }

// Release gives the claim up. It is refused while the host moves.
func (b Book) Release(d Driver, ending string, now time.Time) (Book, error) {
	if p := b.Find(d.Rollout); p != nil && p.Released() && p.Epoch == d.Epoch {
		return b, nil // they have asked before
	}
	c, err := b.Driven(d)
	if err != nil {
		return b, err
	}
	if c.Progress.Moving() {
		return b, moving(c)
	}
	b = b.with(func(c *Claim) {
		c.ReleasedAt, c.Ending, c.Leased = now, ending, false
	})
	b.Past = append(slices.Clone(b.Past), *b.Held)
	b.Past = b.Past[max(0, len(b.Past)-MaxPast):]
	b.Held = nil
	return b, nil
}

// with is the book with another claim in the place of the one that is held.
func (b Book) with(change func(c *Claim)) Book {
	c := *b.Held
	change(&c)
	c.Revision++
	b.Held = &c
	return b
}
