package host

import (
	"context"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/shim"
	"github.com/gracefleet/gracefleet/agent/internal/socket"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// Quiesce waits until nothing more reaches the slot.
func (s *slot) Quiesce(ctx context.Context) error { return socket.Quiesce(ctx, s.targets()) }

// Handshaken waits until the handshakes that are under way have ended, and nothing is
// in a queue: also what has ended its handshake while they were listed.
func (s *slot) Handshaken(ctx context.Context) error {
	targets := s.targets()
	since, err := socket.Handshakes(ctx, targets)
	if err != nil {
		return err
	}
	for {
		n, err := socket.Pending(ctx, targets, since)
		if err != nil || n == 0 {
			return err
		}
		if err := pause.For(ctx, handshakePoll); err != nil {
			return err
		}
	}
}

// handshakePoll: the kernel has no event for the end of a handshake.
const handshakePoll = 20 * time.Millisecond

// Queued counts what waits in the slot's queues.
func (s *slot) Queued(context.Context) (int, error) {
	n := 0
	for _, l := range s.listeners() {
		queued, _, err := socket.Queue(l.File)
		if err != nil {
			return 0, err
		}
		n += queued
	}
	return n, nil
}

// AwaitQueued returns nil when something waits in one of the slot's queues.
func (s *slot) AwaitQueued(ctx context.Context) error {
	return s.awaitAny(ctx, socket.WatchQueue)
}

// AwaitFull returns when so many percent of one of the slot's queues are taken.
func (s *slot) AwaitFull(ctx context.Context, percent int) (queued, limit int, err error) {
	found, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	s.watchSockets(found, socket.WatchQueue, func() {
		mu.Lock()
		defer mu.Unlock()
		for _, l := range s.listeners() {
			n, of, err := socket.Queue(l.File)
			if err == nil && of > 0 && n*100 >= of*percent {
				queued, limit = n, of
				stop()
			}
		}
	})
	if ctx.Err() != nil {
		return 0, 0, context.Cause(ctx)
	}
	return queued, limit, nil
}

// AwaitLost returns nil when one of the slot's listeners was shut down.
func (s *slot) AwaitLost(ctx context.Context) error {
	return s.awaitAny(ctx, socket.WatchListener)
}

type watchSocket func(ctx context.Context, f *os.File, fn func()) error

func (s *slot) awaitAny(ctx context.Context, watch watchSocket) error {
	found, stop := context.WithCancel(ctx)
	defer stop()
	s.watchSockets(found, watch, stop)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// watchSockets watches all of the slot's until ctx ends.
func (s *slot) watchSockets(ctx context.Context, watch watchSocket, fn func()) {
	var all sync.WaitGroup
	for _, l := range s.listeners() {
		all.Go(func() { _ = watch(ctx, l.File, fn) })
	}
	all.Wait()
	<-ctx.Done()
}

// arrivalsEvery coalesces reports of arrivals.
const arrivalsEvery = 50 * time.Millisecond

// Arrivals counts wake-ups of the listeners: each is at least one connection.
func (s *slot) Arrivals(ctx context.Context, fn func(int)) error {
	var mu sync.Mutex
	n, told := 0, 0
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() {
		s.watchSockets(ctx, socket.WatchQueue, func() {
			mu.Lock()
			n++
			mu.Unlock()
		})
	})
	for {
		mu.Lock()
		now := n
		mu.Unlock()
		if now != told {
			told = now
			fn(now)
		}
		if err := pause.For(ctx, arrivalsEvery); err != nil {
			return err
		}
	}
}

// HoldOff keeps new connections away from the program and returns when what is
// queued was taken, or patience is over. Their senders try again for a while.
func (s *slot) HoldOff(ctx context.Context, patience time.Duration) error {
	for _, l := range s.listeners() {
		if l.Socket.Address.Network != service.TCP {
			continue
		}
		if err := socket.DropNew(l.File); err != nil {
			s.log.Warn("new connections cannot be held off", "error", err)
		}
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_ = socket.Quiesce(wait, s.targets()) // it is only patience that ends
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Refuse makes the slot's addresses refuse connections. What is queued is reset,
// and a program that still accepts gets an error: many end at once by that.
func (s *slot) Refuse() error {
	for _, l := range s.listeners() {
		if l.Socket.Address.Network == service.UDP {
			continue
		}
		if err := socket.Shutdown(l.File); err != nil {
			return err
		}
	}
	return nil
}

// Accept listens again where the slot does not: after a Refuse, or when a program
// shut its listener down.
func (s *slot) Accept(ctx context.Context) (again []service.Address, err error) {
	for _, l := range s.listeners() {
		if l.Socket.Address.Network == service.UDP {
			continue
		}
		if listen.Accepting(l.File) {
			continue // a guard on a new address stays until the slot has weight
		}
		if err := listen.Unguard(l.File); err != nil {
			return again, err
		}
		backlog := l.Socket.Backlog
		if backlog == 0 {
			backlog = service.DefaultBacklog
		}
		err := s.keeper.call(ctx, func(c *shim.Client) error { return c.Relisten(ctx, l.Socket.Name, backlog) })
		if err != nil {
			return again, startError(err)
		}
		if l.Socket.Address.Network != service.Unix {
			again = append(again, l.Socket.Address)
		}
	}
	return again, nil
}

func (s *slot) scope() socket.Scope {
	sc := socket.Scope{PIDs: s.processes}
	if sc.Cgroups = s.creators(); !s.adopted() && s.cgroup != "" {
		if id, err := s.cgroup.ID(); err == nil {
			sc.Cgroups = []uint64{id}
		}
	}
	for _, l := range s.listeners() {
		sc.Addresses = append(sc.Addresses, l.Socket.Address)
	}
	for _, p := range s.paths {
		sc.Paths = append(sc.Paths, p.private)
	}
	return sc
}

// Count counts the slot's connections once.
func (s *slot) Count(ctx context.Context) (supervisor.Count, error) {
	c, err := socket.CountNow(ctx, s.scope())
	out := countOf(c)
	if c.Known && s.cgroup != "" {
		if n, err := s.Queued(ctx); err == nil {
			out.Waiting = n
		}
	}
	return out, err
}

// Nudge has the program close connections that were idle for that long.
func (s *slot) Nudge(ctx context.Context, quiet time.Duration) (int, error) {
	return socket.Nudge(ctx, s.scope(), quiet)
}

// CloseConnections resets the slot's open connections.
func (s *slot) CloseConnections(ctx context.Context) ([]netip.AddrPort, error) {
	return socket.Destroy(ctx, s.scope())
}

// WatchCount counts them until ctx ends.
func (s *slot) WatchCount(ctx context.Context, fn func(supervisor.Count)) error {
	return socket.Watch(ctx, s.scope(), func(c socket.Count) { fn(countOf(c)) })
}

func countOf(c socket.Count) supervisor.Count {
	if !c.Known {
		return supervisor.Count{Open: -1, Active: -1, Idle: -1, Stalled: -1, Closing: -1, Bytes: -1}
	}
	return supervisor.Count{Open: c.Open, Active: c.Active, Idle: c.Idle, Stalled: c.Stalled, Closing: c.Closing, Bytes: int64(c.BytesPending)}
}
