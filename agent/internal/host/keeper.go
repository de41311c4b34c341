package host

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/shim"
)

// keeper is the connection to a slot's shim. It knows the shim's latest state
// and replaces a shim that died: the agent holds duplicates of its sockets.
type keeper struct {
	slot   *slot
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	// leaving is set before the connection is ended on purpose.
	leaving atomic.Bool

	mu      sync.Mutex
	client  *shim.Client
	state   shim.State
	changed chan struct{}
	program *shim.Program // the last that was started, for a replacement
	err     error         // why there is no shim any more
}

const redialLimit = 5 * time.Second

func keep(s *slot, c *shim.Client) *keeper {
	ctx, cancel := context.WithCancel(context.Background())
	k := &keeper{
		slot: s, ctx: ctx, cancel: cancel, done: make(chan struct{}),
		client: c, state: c.Hello().State, changed: make(chan struct{}), program: s.taken,
	}
	go k.run(c)
	return k
}

// run follows the shim's events until the slot is let go.
func (k *keeper) run(c *shim.Client) {
	defer close(k.done)
	for c != nil {
		k.refresh(c)
		if k.leaving.Load() {
			c.Close()
			return
		}
		k.follow(c)
		if k.leaving.Load() {
			return
		}
		c = k.reconnect()
	}
}

// follow keeps the state up to date while the connection stands. What an event
// itself says is not held up by the asking for everything else.
func (k *keeper) follow(c *shim.Client) {
	news := make(chan struct{}, 1)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer close(news)
	asking.Go(func() {
		for range news {
			k.refresh(c)
		}
	})
	for e := range c.Events() {
		k.becameReady(e)
		select {
		case news <- struct{}{}:
		default: // the next answer has it
		}
	}
}

// becameReady makes known what an event says before the whole state is asked for:
// somebody waits for exactly this.
func (k *keeper) becameReady(e shim.Event) {
	if e.Kind != shim.EventReady {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.state.Current; c != nil && c.Number == e.Instance && !c.Ready {
		now := *c // readers hold the old one
		now.Ready, now.ReadyAt = true, e.Time
		k.state.Current = &now
		k.state.Seq = max(k.state.Seq, e.Seq) // what is older no longer counts
		k.announce()
	}
}

func (k *keeper) refresh(c *shim.Client) {
	st, err := c.State(k.ctx)
	if err != nil {
		return // the connection has ended: its events end too
	}
	k.set(c, st)
}

func (k *keeper) set(c *shim.Client, st shim.State) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.client = c
	if st.Seq < k.state.Seq && st.PID == k.state.PID {
		return
	}
	k.state = st
	k.announce()
}

// started makes a new instance known before the shim's event does.
func (k *keeper) started(i shim.Instance) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.state.Current; c != nil && c.Number >= i.Number {
		return
	}
	k.state.Current, k.state.Empty = &i, false
	k.announce()
}

func (k *keeper) refreshNow(ctx context.Context) {
	k.mu.Lock()
	c := k.client
	k.mu.Unlock()
	if st, err := c.State(ctx); err == nil {
		k.set(c, st)
	}
}

// announce wakes whoever waits for the state to change; the caller holds mu.
func (k *keeper) announce() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// reconnect finds the shim again, or puts another in its place.
func (k *keeper) reconnect() *shim.Client {
	ctx, cancel := context.WithTimeout(k.ctx, redialLimit)
	defer cancel()
	c, err := shim.Dial(ctx, k.slot.dir)
	if errors.Is(err, shim.ErrGone) {
		k.slot.log.Warn("the slot's shim died; another takes its place", "error", err)
		c, err = k.replace(ctx)
	}
	if err != nil {
		k.fail(err)
		return nil
	}
	return c
}

// replace starts a shim that inherits the sockets and the running program. How
// that ends cannot be known any more, since only a parent is told.
func (k *keeper) replace(ctx context.Context) (*shim.Client, error) {
	c, err := k.slot.spawn(ctx, nil)
	if err != nil {
		return nil, err
	}
	in := shim.Inheritance{}
	for _, l := range k.slot.listeners() {
		in.Sockets = append(in.Sockets, l.Socket)
		in.Files = append(in.Files, l.File)
	}
	k.mu.Lock()
	in.Program = k.program
	if cur := k.state.Current; cur.Alive() && in.Program != nil {
		p := cur.Process
		in.Process = &p
		in.Program.Instance = cur.Number
	}
	k.mu.Unlock()
	if err := c.Inherit(ctx, in); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (k *keeper) fail(err error) {
	k.slot.log.Error("the slot has no shim any more", "error", err)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
	k.announce()
}

func (k *keeper) snapshot() (shim.State, <-chan struct{}, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state, k.changed, k.err
}

// call uses the current connection; while a shim is being replaced it waits for
// the new one.
func (k *keeper) call(ctx context.Context, f func(*shim.Client) error) error {
	for {
		k.mu.Lock()
		c, changed, gone := k.client, k.changed, k.err
		k.mu.Unlock()
		if gone != nil {
			return gone
		}
		err := f(c)
		if !errors.Is(err, shim.ErrClosed) {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-k.done:
			return err
		}
	}
}

// await returns when the state satisfies a condition.
func (k *keeper) await(ctx context.Context, ok func(shim.State) bool) error {
	for {
		st, changed, err := k.snapshot()
		if ok(st) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-k.done:
			return shim.ErrClosed
		}
	}
}

func (k *keeper) dismiss(ctx context.Context) error {
	k.leaving.Store(true)
	k.mu.Lock()
	c := k.client
	k.mu.Unlock()
	err := c.Dismiss(ctx, true) // what ran there was killed before
	if errors.Is(err, shim.ErrClosed) || errors.Is(err, shim.ErrGone) {
		err = nil
	}
	k.detach()
	return err
}

// detach ends the connection, also one that is just being made anew.
func (k *keeper) detach() {
	k.leaving.Store(true)
	k.cancel()
	k.mu.Lock()
	c := k.client
	k.mu.Unlock()
	c.Close()
	<-k.done
}
