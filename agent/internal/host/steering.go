package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/socket"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

// steering switches one service's slots. It implements supervisor.Steering.
type steering struct {
	log hclog.Logger
	// probing is held during a private probe, whose rule stands in the programs.
	probing sync.Mutex

	mu sync.Mutex
	// closed is the slot that was closed last; numbers are never used again.
	closed  int
	order   steer.Order
	weights steer.Weights
	slots   map[int]*slot
	public  map[string]*publication // by path of a unix socket
}

func newSteering(log hclog.Logger) *steering {
	return &steering{log: log, slots: map[int]*slot{}, public: map[string]*publication{}}
}

// Set steers by these weights from when it returns.
func (t *steering) Set(order steer.Order, weights map[int]int, slots map[int]supervisor.Slot) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.order = t.current(order)
	t.weights.Share = map[steer.Slot]int{}
	t.slots = map[int]*slot{}
	for n, s := range slots {
		t.slots[n] = s.(*slot)
		if weights[n] > 0 {
			t.weights.Share[steer.Slot(n)] = weights[n]
			t.slots[n].unguard()
		}
	}
	t.normalise()
	return errors.Join(t.attach(), t.publish())
}

// normalise leaves out slots that are not open yet: the open ones share.
func (t *steering) normalise() {
	sum := 0
	for _, n := range t.weights.Share {
		sum += n
	}
	if sum == 0 || sum == steer.Whole {
		return
	}
	rest := steer.Whole
	var last steer.Slot
	for n, share := range t.weights.Share {
		t.weights.Share[n] = share * steer.Whole / sum
		rest -= t.weights.Share[n]
		last = n
	}
	t.weights.Share[last] += rest
}

// attach puts every group's program in force. It costs microseconds, so nothing
// is remembered: a group that emptied meanwhile has lost its program.
func (t *steering) attach() error {
	var errs []error
	for _, g := range t.order.Groups {
		if err := t.attachGroup(g); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (t *steering) attachGroup(g steer.Group) error {
	prog, err := steer.Program(g.Slots, t.weights, g.Address)
	if errors.Is(err, steer.ErrNoWeight) {
		return nil // nobody here is to receive anything: what is in force stays
	}
	if err != nil {
		return err
	}
	for _, f := range t.members(g) {
		err := socket.Attach(f, prog)
		if errors.Is(err, unix.EOPNOTSUPP) {
			continue // alone, it keeps the one it was adopted with
		}
		if err != nil {
			return fmt.Errorf("steer %s: %w", g.Address, err)
		}
		return nil
	}
	return nil
}

// members are the sockets of a group that are open here.
func (t *steering) members(g steer.Group) []*os.File {
	var out []*os.File
	for _, n := range g.Slots {
		s := t.slots[int(n)]
		if s == nil || !s.Listening(g.Address) {
			continue
		}
		for _, l := range s.listeners() {
			if l.Socket.Address == g.Address {
				out = append(out, l.File)
			}
		}
	}
	return out
}

// Close closes a slot. The programs in force are right before and after it leaves
// its groups, but a program made from the wrong order in between would not be: it is
// seen to have left, and the order is changed, under one lock.
func (t *steering) Close(ctx context.Context, number int, s supervisor.Slot, after steer.Order) error {
	going := s.(*slot)
	t.probing.Lock()
	defer t.probing.Unlock()
	err := going.dismiss(ctx)
	t.mu.Lock()
	err = errors.Join(err, socket.Close(ctx, going.targets()))
	t.closed = number
	t.order = after.Clone()
	delete(t.slots, number)
	attached := t.attach()
	t.mu.Unlock()
	for _, a := range going.Addresses() {
		t.settleOwner(a)
	}
	return errors.Join(err, attached, going.remove(ctx))
}

// current is the order that the kernel has: the owner records a close only after
// it has happened.
func (t *steering) current(o steer.Order) steer.Order {
	p := o.Pending
	if p != nil && p.Kind == steer.Leave && int(p.Slot) == t.closed {
		return o.Done()
	}
	return o.Clone()
}

// probe runs fn while the private path leads to a slot.
func (t *steering) probe(n int, ports []uint16, fn func() error) error {
	t.probing.Lock()
	defer t.probing.Unlock()
	if err := t.rule(steer.Slot(n), ports); err != nil {
		return err
	}
	err := fn()
	if rerr := t.rule(0, nil); rerr != nil {
		t.log.Error("the private path could not be closed", "error", rerr)
	}
	return err
}

func (t *steering) rule(n steer.Slot, ports []uint16) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.weights.Probe, t.weights.ProbePorts = n, ports
	return t.attach()
}

// publish leads each unix socket's public path to the slot with most weight.
func (t *steering) publish() error {
	best := map[string]*slot{}
	weight := map[string]int{}
	for n, s := range t.slots {
		share := t.weights.Share[steer.Slot(n)]
		for _, l := range s.listeners() {
			path := l.Socket.Address.Path
			if l.Socket.Address.Network == service.Unix && share > weight[path] {
				best[path], weight[path] = s, share
			}
		}
	}
	var errs []error
	for path, s := range best {
		if err := t.lead(path, s); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (t *steering) lead(path string, s *slot) error {
	pair, ok := s.pairFor(path)
	if !ok {
		return nil
	}
	now := t.public[path]
	if now != nil && now.kept == pair.kept {
		return nil
	}
	if now != nil {
		now.end()
	}
	if err := socket.Publish(pair.kept, path); err != nil {
		return err
	}
	t.public[path] = guard(pair.kept, path, t.log)
	return nil
}

// withdraw no longer guards a path that leads to a slot which is going.
func (t *steering) withdraw(pair pathPair) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := t.public[pair.public]; now != nil && now.kept == pair.kept {
		now.end()
		delete(t.public, pair.public)
	}
}

func (t *steering) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.public {
		p.end()
	}
	clear(t.public)
}

// publication keeps a public path where it leads.
type publication struct {
	kept   string
	cancel context.CancelFunc
	done   chan struct{}
}

func guard(kept, public string, log hclog.Logger) *publication {
	ctx, cancel := context.WithCancel(context.Background())
	p := &publication{kept: kept, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		err := socket.GuardPath(ctx, kept, public, func() { log.Warn("somebody removed a public path: restored", "path", public) })
		if err != nil && ctx.Err() == nil {
			log.Error("a public path is no longer guarded", "path", public, "error", err)
		}
	}()
	return p
}

func (p *publication) end() {
	p.cancel()
	<-p.done
}
