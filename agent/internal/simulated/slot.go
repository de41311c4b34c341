package simulated

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// slot is an open slot. It has one connection while it has weight, and for the time
// of a drain after that.
type slot struct {
	host      *Host
	addresses []service.Address

	mu        sync.Mutex
	program   *program // the latest; nil before the first
	refusing  bool
	weighted  bool
	drainedAt time.Time // when it has, or had, no connection left; zero before it ever had one
}

func newSlot(h *Host, spec service.Spec) *slot {
	s := &slot{host: h}
	for _, sock := range spec.Sockets {
		if sock.Address.Network != service.Unix {
			s.addresses = append(s.addresses, sock.Address)
		}
	}
	return s
}

// weigh says whether new connections reach the slot from now on.
func (s *slot) weigh(weight int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.weighted && weight == 0 {
		s.drainedAt = time.Now().Add(s.host.conduct.Drain)
	}
	s.weighted = weight > 0
}

// left is how long its last connection lasts from now on; 0 when it has none.
func (s *slot) left() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.weighted {
		return max(s.host.conduct.Drain, time.Millisecond)
	}
	return max(0, time.Until(s.drainedAt))
}

func (s *slot) current() *program {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.program
}

// instance is the program's run of a number.
func (s *slot) instance(number int) (*program, error) {
	p := s.current()
	if p == nil || p.number != number {
		return nil, fmt.Errorf("instance %d does not run", number)
	}
	return p, nil
}

// Start runs a program.
func (s *slot) Start(_ context.Context, l supervisor.Launch) (pid int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.program == nil || s.program.number != l.Instance {
		s.program = start(s.host, l)
	}
	return s.program.pid, nil
}

// Current is the latest instance.
func (s *slot) Current(context.Context) (i supervisor.Instance, ok bool, err error) {
	p := s.current()
	if p == nil {
		return i, false, nil
	}
	return p.instance(), true, nil
}

// Await returns when the instance has ended.
func (s *slot) Await(ctx context.Context, instance int) (supervisor.Exit, error) {
	p, err := s.instance(instance)
	if err != nil {
		return supervisor.Exit{}, err
	}
	return p.await(ctx)
}

// AwaitNotify returns when the instance is ready.
func (s *slot) AwaitNotify(ctx context.Context, instance int) error {
	p, err := s.instance(instance)
	if err != nil {
		return err
	}
	return p.awaitReady(ctx)
}

// AwaitParentSignal returns when the instance is ready.
func (s *slot) AwaitParentSignal(ctx context.Context, instance int, _ string) error {
	return s.AwaitNotify(ctx, instance)
}

// Follow hears nothing.
func (s *slot) Follow(ctx context.Context, _ int, _ func(supervisor.Saying)) error { return never(ctx) }

// Signal has the program end, with its last connection if it is told to stop.
func (s *slot) Signal(_ context.Context, instance int, _ string, _ int, stop bool) error {
	p, err := s.instance(instance)
	if err != nil || !stop {
		return err
	}
	p.after(s.left(), func() { p.end(supervisor.Exit{}) })
	return nil
}

// Kill ends the program at once.
func (s *slot) Kill(context.Context, string) error {
	if p := s.current(); p != nil {
		p.kill()
	}
	return nil
}

// Probe asks the program.
func (s *slot) Probe(context.Context, service.Probe, supervisor.Steering, int) error {
	p := s.current()
	if p == nil {
		return errors.New("no program runs")
	}
	return p.probe()
}

// arrived is enough connections for any step.
const arrived = 1000

// Arrivals are enough at once.
func (s *slot) Arrivals(ctx context.Context, fn func(n int)) error {
	fn(arrived)
	return never(ctx)
}

// Count counts the connection.
func (s *slot) Count(context.Context) (supervisor.Count, error) { return s.count(), nil }

func (s *slot) count() supervisor.Count {
	open := 0
	if s.left() > 0 {
		open = 1
	}
	return supervisor.Count{Open: open, Active: open}
}

// recount is how soon connections are counted again that nothing is known to end.
const recount = time.Second

// WatchCount counts until ctx ends.
func (s *slot) WatchCount(ctx context.Context, fn func(supervisor.Count)) error {
	for {
		fn(s.count())
		wait := recount
		if left := s.left(); left > 0 {
			wait = min(left, recount)
		}
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
	}
}

// Refuse stops listening.
func (s *slot) Refuse() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusing = true
	return nil
}

// Accept listens again.
func (s *slot) Accept(context.Context) (again []service.Address, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusing {
		again = s.addresses
	}
	s.refusing = false
	return again, nil
}

// Addresses are those of the specification.
func (s *slot) Addresses() []service.Address { return s.addresses }

// Listening is true unless it refuses.
func (s *slot) Listening(service.Address) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.refusing
}

// never waits for what does not happen.
func never(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// AwaitFull waits in vain.
func (s *slot) AwaitFull(ctx context.Context, _ int) (queued, limit int, err error) {
	return 0, 0, never(ctx)
}

// AwaitQueued waits in vain: nobody ever waits here.
func (s *slot) AwaitQueued(ctx context.Context) error { return never(ctx) }

// AwaitLost waits in vain.
func (s *slot) AwaitLost(ctx context.Context) error { return never(ctx) }

// Successor finds none.
func (s *slot) Successor(context.Context) (x supervisor.External, ok bool) { return x, false }

// Holders are none.
func (s *slot) Holders(context.Context) []string { return nil }

// Leftovers are none.
func (s *slot) Leftovers() []int { return nil }

// Inspect finds nothing.
func (s *slot) Inspect(context.Context, bool) error { return nil }

// Queued is 0.
func (s *slot) Queued(context.Context) (int, error) { return 0, nil }

// Undeclared are none.
func (s *slot) Undeclared() ([]service.Address, error) { return nil, nil }

// Locks are none.
func (s *slot) Locks() ([]string, error) { return nil, nil }

// Quiesce is done at once.
func (s *slot) Quiesce(context.Context) error { return nil }

// Handshaken is true at once.
func (s *slot) Handshaken(context.Context) error { return nil }

// Reload is done at once, and confirmed.
func (s *slot) Reload(context.Context, string) (confirmed bool, err error) { return true, nil }

// HoldOff is done at once.
func (s *slot) HoldOff(context.Context, time.Duration) error { return nil }

// Nudge closes nothing.
func (s *slot) Nudge(context.Context, time.Duration) (int, error) { return 0, nil }

// CloseConnections closes nothing.
func (s *slot) CloseConnections(context.Context) ([]netip.AddrPort, error) { return nil, nil }

// Detach does nothing.
func (s *slot) Detach() {}
