package registry

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Registrar keeps a host registered. It is safe for concurrent use.
type Registrar struct {
	stateID string
	log     hclog.Logger
	changed chan struct{} // holds one when want is another

	mu    sync.Mutex
	want  *Entry
	state State

	// Run's
	link       *link
	next       int // member to ask after a failure
	failures   int
	complained time.Time
}

// State is how it is with the registration.
type State struct {
	// Contact is when the host was known to be registered last; zero for never.
	Contact time.Time
	// Err is why it is not now; nil when it is, or when it need not be.
	Err error
	// Since is when it was first to be registered, or last known to be.
	Since time.Time
}

// takenError means that another agent has the key.
type takenError struct{ key string }

func (e *takenError) Error() string {
	return fmt.Sprintf("etcd: the key %s is another agent's, or was written by hand: two hosts must not have certificates of one name", e.key)
}

// New prepares the registration of an agent with a state directory of that id.
func New(stateID string, log hclog.Logger) *Registrar {
	return &Registrar{stateID: stateID, log: log, changed: make(chan struct{}, 1)}
}

// Set says what is to be registered from now on; nil means nothing.
func (r *Registrar) Set(e *Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if reflect.DeepEqual(e, r.want) {
		return
	}
	r.want, r.state = e, State{Since: time.Now()}
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// State is how it is now.
func (r *Registrar) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// Warning is for whoever asks about the agent; empty when all is well, or may be again
// in a moment.
func (r *Registrar) Warning(now time.Time) string {
	s := r.State()
	if s.Err == nil {
		return ""
	}
	_, taken := s.Err.(*takenError) //nolint:errorlint // it is never wrapped
	if !taken && now.Sub(s.Since) < warnAfter {
		return ""
	}
	return fmt.Sprintf("the host is not registered since %s, so clients do not find it: %v", s.Since.UTC().Format(time.RFC3339), s.Err)
}

// Run keeps the host registered until ctx ends. Then the lease has some seconds left:
// the next agent takes it over.
func (r *Registrar) Run(ctx context.Context) {
	defer r.disconnect()
	var entry *Entry
	wait := time.NewTimer(0)
	wait.Stop()
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.changed:
			entry = r.exchange(ctx, entry)
		case <-wait.C:
		}
		if entry == nil {
			continue
		}
		r.report(ctx, entry, r.register(ctx, entry))
		wait.Reset(waitAfter(r.failures, chance()))
	}
}

// exchange gives up what is not to be registered any more, and returns what is.
func (r *Registrar) exchange(ctx context.Context, was *Entry) *Entry {
	r.mu.Lock()
	now := r.want
	r.mu.Unlock()
	if was != nil && !was.same(now) {
		r.withdraw(ctx, was)
	}
	r.disconnect()
	r.failures, r.next, r.complained = 0, 0, time.Time{}
	return now
}

// withdraw tries once: what is not given up ends by itself.
func (r *Registrar) withdraw(ctx context.Context, e *Entry) {
	err := r.connected(ctx, e)
	if err == nil {
		err = r.link.revoke(ctx, e.lease(r.stateID))
	}
	if err != nil {
		r.log.Warn("the host could not be taken off the registry: it vanishes there by itself", "key", e.key, "error", err)
	}
}

// register does what is needed for the host to be registered for another while.
func (r *Registrar) register(ctx context.Context, e *Entry) error {
	if err := r.connected(ctx, e); err != nil {
		return err
	}
	lease := e.lease(r.stateID)
	alive, err := r.link.keepAlive(ctx, lease)
	if err == nil && !alive {
		err = r.link.grant(ctx, lease)
	}
	if err != nil {
		return err
	}
	now, err := r.link.get(ctx, e.key)
	switch {
	case err != nil:
		return err
	case now.revision != 0 && now.lease != lease:
		return &takenError{e.key}
	case now.revision != 0 && now.value == e.value:
		return nil
	}
	done, err := r.link.put(ctx, e.key, e.value, lease, now.revision)
	if err == nil && !done {
		err = &takenError{e.key} // in this very moment
	}
	return err
}

func (r *Registrar) connected(ctx context.Context, e *Entry) (err error) {
	if r.link == nil {
		r.link, err = connect(ctx, e.members[r.next%len(e.members)], e.options)
	}
	return err
}

func (r *Registrar) disconnect() {
	if r.link != nil {
		r.link.close()
		r.link = nil
	}
}

// report keeps how it went. After a failure another member is asked.
func (r *Registrar) report(ctx context.Context, e *Entry, err error) {
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	if err == nil {
		if r.failures > 0 || r.State().Contact.IsZero() {
			r.log.Info("the host is registered", "key", e.key)
		}
		r.failures, r.complained = 0, time.Time{}
	} else {
		r.disconnect()
		r.failures++
		r.next++
		if r.complained.IsZero() || now.Sub(r.complained) >= complainEvery {
			r.complained = now
			r.log.Warn("the host could not be registered: it is tried again", "key", e.key, "error", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.want != e {
		return // somebody wants another thing meanwhile
	}
	r.state.Err = err
	if err == nil {
		r.state.Contact, r.state.Since = now, now
	}
}
