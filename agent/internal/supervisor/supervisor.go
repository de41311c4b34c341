package supervisor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/agent/internal/signatures"
)

// Supervisor runs all services of a host. Its methods are safe for concurrent
// use.
type Supervisor struct {
	host    Host
	records Records
	log     hclog.Logger
	journal *journal
	looked  atomic.Uint64 // how often at any service

	ctx    context.Context
	cancel context.CancelCauseFunc

	signatures atomic.Pointer[signatures.Policy]
	// forged is told of processes of a service that claim to be what they are not.
	forged func(service string, pid int, why string)

	mu     sync.Mutex
	owners map[string]*owner
	floors map[string]int64 // of services that were deleted
	// rollouts is held from the writing of a rollout's bytes to its claim, and while
	// those are removed that no claim needs.
	rollouts sync.Mutex

	freezing sync.Mutex // changes of frozen
	frozen   atomic.Pointer[Freeze]
	// declare serialises declarations, so that two cannot claim one address.
	declare sync.Mutex
}

// New prepares a supervisor that runs nothing yet: call Restore.
func New(h Host, r Records, log hclog.Logger) *Supervisor {
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &Supervisor{
		host: h, records: r, log: log.Named("supervisor"),
		journal: newJournal(), ctx: ctx, cancel: cancel, owners: map[string]*owner{}, floors: map[string]int64{},
	}
	s.signatures.Store(&signatures.Policy{})
	s.forged = func(string, int, string) {}
	return s
}

// OnForged has a function told of processes of a service that claim to be what they
// are not. It is called before Restore, and fn from any goroutine.
func (s *Supervisor) OnForged(fn func(service string, pid int, why string)) { s.forged = fn }

// Close lets go of every service; all programs live on.
func (s *Supervisor) Close() {
	s.cancel(ErrClosed)
	for _, o := range s.all() {
		<-o.done
	}
	s.journal.close()
}

func (s *Supervisor) all() []*owner {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*owner, 0, len(s.owners))
	for _, o := range s.owners {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b *owner) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return out
}

func (s *Supervisor) find(name string) (*owner, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.owners[name]; o != nil {
		return o, nil
	}
	return nil, fmt.Errorf("%w: %q; create it with: gracectl apply -f FILE", ErrServiceNotFound, name)
}

// add starts the owner of a service.
func (s *Supervisor) add(rec record) *owner {
	o := newOwner(s, rec)
	s.mu.Lock()
	s.owners[rec.Name] = o
	s.mu.Unlock()
	return o
}

func (s *Supervisor) drop(name string) {
	s.mu.Lock()
	delete(s.owners, name)
	s.mu.Unlock()
}

// ArtifactUsers lists the services with a kept generation of an artifact.
func (s *Supervisor) ArtifactUsers(artifact string) []string {
	var out []string
	for _, o := range s.all() {
		used := false
		if o.do(s.ctx, func() error { used = o.rec.artifacts()[artifact]; return nil }) == nil && used {
			out = append(out, o.name)
		}
	}
	return out
}

// Artifacts are all artifacts that must not be collected.
func (s *Supervisor) Artifacts() map[string]bool {
	out := map[string]bool{}
	for _, o := range s.all() {
		_ = o.do(s.ctx, func() error {
			for a := range o.rec.artifacts() {
				out[a] = true
			}
			return nil
		})
	}
	return out
}
