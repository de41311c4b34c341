package supervisor

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// owner is one service and the goroutine that holds its state. All fields below
// the line belong to that goroutine.
type owner struct {
	name     string
	sup      *Supervisor
	host     Host
	log      hclog.Logger
	steering Steering
	ctx      context.Context
	cancel   context.CancelCauseFunc
	done     chan struct{} // the loop and every effect have ended
	closing  chan struct{} // the loop has ended: what is not told yet, nobody will be
	inbox    chan func()
	snapshot atomic.Pointer[Status]
	changed  *broadcast
	looks    looks

	// ---
	rec     record
	slots   map[int]*openSlot
	closers map[int]chan struct{}
	tasks   map[lifecycle.Effect]*task
	ending  map[int][]*task // cancelled tasks by slot, perhaps not yet gone
	live    map[int]*vitals
	timer   *time.Timer
	// lease fires when the claim's lease ends, or is renewed.
	lease    *time.Timer
	leaseEnd lifecycle.Time
	spare    int // slot whose keeper waits for the next upgrade; 0: none
	pid      int // what the pid file says
	disk     durable
	unsaved  bool // the record on disk is older than rec, or may not last
	deleted  bool
	// adopting holds effects back until a new agent knows what runs.
	adopting bool
}

// vitals is what is known of a living generation and need not be stored.
type vitals struct {
	pid    int
	status string
	count  *Count
	cause  string // why it is not ready yet
	errno  int    // of an execution that failed
	locks  []string
	own    []service.Address
}

func newOwner(s *Supervisor, rec record) *owner {
	ctx, cancel := context.WithCancelCause(s.ctx)
	o := &owner{
		name: rec.Name, sup: s, host: s.host, log: s.log.With("service", rec.Name),
		steering: s.host.Steering(rec.Name), ctx: ctx, cancel: cancel,
		done: make(chan struct{}), closing: make(chan struct{}), inbox: make(chan func()), changed: newBroadcast(),
		rec: rec, slots: map[int]*openSlot{}, closers: map[int]chan struct{}{},
		tasks: map[lifecycle.Effect]*task{}, ending: map[int][]*task{}, live: map[int]*vitals{},
		timer: time.NewTimer(time.Hour), lease: time.NewTimer(time.Hour), pid: unknownPID,
	}
	o.timer.Stop()
	o.lease.Stop()
	o.publish()
	go o.loop()
	return o
}

func (o *owner) loop() {
	defer close(o.done)
	defer o.changed.close()
	for {
		select {
		case f := <-o.inbox:
			f()
		case <-o.timer.C:
			o.fact(lifecycle.Event{Type: lifecycle.Tick})
		case <-o.lease.C:
			o.leaseOver()
		case <-o.ctx.Done():
			o.letGo()
			return
		}
	}
}

// letGo ends every effect and leaves the service as it is.
func (o *owner) letGo() {
	close(o.closing) // effects wait for answers, too, and letGo for effects
	o.timer.Stop()
	o.lease.Stop()
	for _, t := range o.tasks {
		t.cancel()
	}
	for _, t := range o.tasks {
		<-t.done
	}
	for _, ts := range o.ending {
		for _, t := range ts {
			<-t.done
		}
	}
	for _, sl := range o.slots {
		sl.letGo()
	}
	if o.disk.syncing != nil {
		<-o.disk.syncing
	}
}

// do runs f in the owner's goroutine and returns what it says, once that is durable.
func (o *owner) do(ctx context.Context, f func() error) error {
	answer := make(chan error, 1)
	select {
	case o.inbox <- func() {
		err := f()
		o.tell(func() { answer <- err })
	}:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-o.done:
		return ErrClosed
	}
	select {
	case err := <-answer:
		return err
	case <-o.closing:
		return ErrClosed
	}
}

// post hands a fact to the owner; an effect that was ended meanwhile drops it.
func (o *owner) post(ctx context.Context, f func()) {
	select {
	case o.inbox <- f:
	case <-ctx.Done():
	}
}

func (o *owner) wall() time.Time { return time.Now().UTC() }

// when is the wall-clock time of an instant.
func (o *owner) when(t lifecycle.Time) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return o.wall().Add(time.Duration(t - o.host.Now()))
}

func (o *owner) vitals(generation int) *vitals {
	v := o.live[generation]
	if v == nil {
		v = &vitals{}
		o.live[generation] = v
	}
	return v
}
