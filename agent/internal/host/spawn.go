package host

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/shim"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

// spawnLimit bounds the start of a shim.
const spawnLimit = 10 * time.Second

// spawned is what came of starting a shim.
type spawned struct {
	slot   *slot
	client *shim.Client
	err    error
}

// Prepare starts the shim of a slot, unless it has. A shim that no agent is
// connected to and that is given nothing to do ends by itself, so an agent that
// dies leaves nothing behind.
func (h *Host) Prepare(in supervisor.SlotIntent) {
	dir := h.shimDir(in.Service, in.Slot)
	result := make(chan spawned, 1)
	h.mu.Lock()
	_, have := h.prepared[dir]
	if !have {
		h.prepared[dir] = result
	}
	h.mu.Unlock()
	if have {
		return
	}
	s, err := h.newSlot(in)
	if err != nil {
		result <- spawned{err: err}
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), spawnLimit)
		defer cancel()
		c, err := s.spawnFirst(ctx)
		result <- spawned{s, c, err}
	}()
}

// Discard ends a prepared shim and removes what it left; the next slot may have
// the same number.
func (h *Host) Discard(in supervisor.SlotIntent) {
	result := h.forgetPrepared(h.shimDir(in.Service, in.Slot))
	if result == nil {
		return
	}
	(<-result).discard()
}

// Sweep ends the shim of a slot that no record knows: the agent that prepared it
// died.
func (h *Host) Sweep(ctx context.Context, in supervisor.SlotIntent) {
	dir := h.shimDir(in.Service, in.Slot)
	if _, err := os.Stat(dir); err != nil {
		return
	}
	s, err := h.newSlot(in)
	if err != nil {
		return
	}
	c, err := shim.Dial(ctx, dir)
	switch {
	case err == nil && (c.Hello().State.StateID != h.store.ID() || c.Hello().State.Current != nil):
		c.Close() // not one of ours that waits
		return
	case err == nil:
		s.abandon(ctx, c)
	case !errors.Is(err, shim.ErrGone):
		return
	}
	if err := s.remove(ctx); err != nil {
		h.log.Warn("what an earlier agent prepared is left", "directory", dir, "error", err)
	}
}

// discardAll ends every prepared shim.
func (h *Host) discardAll() {
	h.mu.Lock()
	all := h.prepared
	h.prepared = map[string]chan spawned{}
	h.mu.Unlock()
	for _, result := range all {
		(<-result).discard()
	}
}

func (x spawned) discard() {
	if x.slot == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), spawnLimit)
	defer cancel()
	if x.client != nil {
		x.slot.abandon(ctx, x.client)
	}
	_ = x.slot.remove(ctx)
}

// abandon dismisses a shim that holds nothing of value.
func (s *slot) abandon(ctx context.Context, c *shim.Client) {
	if err := c.Dismiss(ctx, false); err != nil {
		s.log.Warn("a shim that is not needed could not be dismissed", "error", err)
	}
	c.Close()
}

func (h *Host) forgetPrepared(dir string) chan spawned {
	h.mu.Lock()
	defer h.mu.Unlock()
	result := h.prepared[dir]
	delete(h.prepared, dir)
	return result
}

func (h *Host) takePrepared(ctx context.Context, s *slot) (*shim.Client, error) {
	result := h.forgetPrepared(s.dir)
	if result == nil {
		return s.spawnFirst(ctx)
	}
	select {
	case got := <-result:
		if got.client != nil && got.client.Err() == nil {
			return got.client, nil
		}
		return s.spawnFirst(ctx) // somebody ended it meanwhile
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// spawnFirst starts the shim of a slot that runs nothing yet, and with it the exec
// stage of its first program.
func (s *slot) spawnFirst(ctx context.Context) (*shim.Client, error) {
	group, err := s.programCgroup(ctx)
	if err != nil {
		return nil, err
	}
	return s.spawn(ctx, &shim.StageIntent{Cgroup: group, Descriptors: len(s.intent.Spec.Sockets)})
}

// spawn starts the shim; one that an interrupted Open left is used as it is.
func (s *slot) spawn(ctx context.Context, stage *shim.StageIntent) (*shim.Client, error) {
	c, err := shim.Spawn(ctx, s.host.shimBinary, shim.Intent{
		StateID: s.host.store.ID(), Service: s.intent.Service, Slot: s.intent.Slot, Generation: s.intent.Generation,
		Directory: s.dir, SlotCgroup: string(s.cgroup), Stage: stage,
	})
	if errors.Is(err, shim.ErrRunning) {
		return shim.Dial(ctx, s.dir)
	}
	return c, err
}
