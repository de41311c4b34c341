package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/store"
	"github.com/gracefleet/gracefleet/internal/link"
	"github.com/gracefleet/gracefleet/internal/pause"
)

const (
	// maxFailures in a row, none of which brought a byte, end a fetch.
	maxFailures = 5
	firstPause  = 200 * time.Millisecond
	chunk       = 256 << 10
)

// Store is what a fetch needs of the state directory; *store.Store is one.
type Store interface {
	BeginUpload(digest string, size int64, o store.UploadOptions) (u *store.Upload, committed int64, err error)
	UploadStatus(digest string) (store.UploadState, error)
}

// Fetcher brings artifacts into a store. It is safe for concurrent use.
type Fetcher struct {
	store    Store
	agent    string
	patience time.Duration
	policy   atomic.Pointer[Policy]
	peers    Peers // nil without a network
}

// New makes a Fetcher of an agent of some version.
func New(s Store, version string, p *Policy) *Fetcher {
	f := &Fetcher{store: s, agent: "gracefleet/" + version, patience: silence}
	f.policy.Store(p)
	return f
}

// SetPeers has the agent fetch from others. It is called before the first fetch.
func (f *Fetcher) SetPeers(p Peers) { f.peers = p }

// SetPolicy changes what may be fetched, from the next request to a server on.
func (f *Fetcher) SetPolicy(p *Policy) { f.policy.Store(p) }

// Policy is the one that holds now. It is not changed.
func (f *Fetcher) Policy() *Policy { return f.policy.Load() }

// Order is what to fetch.
type Order struct {
	Digest string
	// Size in bytes; 0 takes what the source says.
	Size int64
	// From is where it is, unless an agent holds it.
	From    link.Link
	Seed    *Seed
	Options store.UploadOptions
}

// from is where it is, for people.
func (o *Order) from() string {
	if o.Seed != nil {
		return fmt.Sprintf("%s from %s", o.Seed.At, o.Seed.Agent)
	}
	return o.From.String()
}

// Fetch returns a stored artifact at once, and otherwise brings it into the store,
// going on where an earlier fetch or upload has ended. tell hears of each step how
// many bytes there are, of how many; an error of it ends the fetch. It fails with the
// errors of this package and those of store.BeginUpload and Commit, or with ctx.
func (f *Fetcher) Fetch(ctx context.Context, o Order, tell func(committed, size int64) error) (store.Artifact, error) {
	a, resumed, err := f.try(ctx, o, tell)
	if resumed && errors.Is(err, store.ErrDigestMismatch) {
		// What was there before may have been wrong, and is gone now.
		a, _, err = f.try(ctx, o, tell)
	}
	switch {
	case err == nil:
		return a, nil
	case ctx.Err() != nil:
		return store.Artifact{}, fmt.Errorf("fetch %s: %w: what came is kept", o.from(), context.Cause(ctx))
	}
	return store.Artifact{}, fmt.Errorf("fetch %s: %w", o.from(), err)
}

func (f *Fetcher) try(ctx context.Context, o Order, tell func(committed, size int64) error) (a store.Artifact, resumed bool, err error) {
	t := &transfer{Fetcher: f, order: o, tell: tell, source: f.source(o)}
	defer t.source.close()
	err = t.run(ctx)
	if t.upload == nil {
		return store.Artifact{}, false, err
	}
	defer t.upload.Close() // nothing after Commit
	if err == nil {
		a, err = t.upload.Commit()
	}
	return a, t.resumed, err
}

func (f *Fetcher) source(o Order) *source {
	s := &source{link: o.From, policy: f.Policy, agent: f.agent, patience: f.patience}
	if o.Seed != nil {
		s.link, s.seed, s.peers = o.Seed.At, o.Seed, f.peers
	}
	return s
}

// transfer is one try to bring everything into the store.
type transfer struct {
	*Fetcher
	order  Order
	tell   func(committed, size int64) error
	source *source

	upload          *store.Upload // nil before anybody has said how large it is
	resumed         bool
	committed, size int64
}

// run repeats what may pass as long as each time something comes.
func (t *transfer) run(ctx context.Context) error {
	for failures := 0; ; {
		before := t.committed
		err := t.pass(ctx)
		if err == nil || !errors.Is(err, ErrPassing) {
			return err
		}
		if t.committed > before {
			failures = 0
		}
		if failures++; failures == maxFailures {
			return err
		}
		if err := pause.For(ctx, firstPause<<(failures-1)); err != nil {
			return err
		}
	}
}

// pass makes one connection, unless nothing is missing.
func (t *transfer) pass(ctx context.Context) error {
	if t.upload == nil {
		if err := t.begin(ctx); err != nil {
			return err
		}
		if err := t.tell(t.committed, t.size); err != nil {
			return err
		}
	}
	if t.committed == t.size {
		return nil
	}
	if err := t.source.seek(ctx, t.committed); err != nil {
		return err
	}
	if err := t.agree(); err != nil {
		return err
	}
	return t.receive()
}

// begin finds room for all of it.
func (t *transfer) begin(ctx context.Context) error {
	held, err := t.store.UploadStatus(t.order.Digest)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if held.Size > 0 && held.Committed == held.Size {
		if err := t.open(held.Size); err != nil || t.committed == t.size {
			return err
		}
		// It was sent under another name, so nothing of it was taken over.
		err, t.upload = t.upload.Abort(), nil
		if err != nil {
			return err
		}
		held.Committed = 0
	}
	if err := t.measure(ctx, held.Committed); err != nil {
		return err
	}
	return t.open(t.size)
}

func (t *transfer) open(size int64) (err error) {
	t.size = size
	t.upload, t.committed, err = t.store.BeginUpload(t.order.Digest, size, t.order.Options)
	t.resumed = t.committed > 0
	return err
}

// measure asks the source how large it is, by asking for what is missing.
func (t *transfer) measure(ctx context.Context, held int64) error {
	err := t.source.seek(ctx, held)
	if held > 0 && errors.Is(err, ErrUnusable) {
		err = t.source.seek(ctx, 0) // there may be less than what somebody else has sent
	}
	if err != nil {
		return err
	}
	t.size = t.order.Size
	if t.size == 0 {
		t.size = t.source.size
	}
	if t.size < 0 {
		return fmt.Errorf("%w: the server does not say how large it is: say it yourself", ErrUnusable)
	}
	return t.agree()
}

// agree says whether the source is as large as it ought to be.
func (t *transfer) agree() error {
	if t.source.size >= 0 && t.source.size != t.size {
		return fmt.Errorf("%w: there are %d bytes, and not %d", ErrUnusable, t.source.size, t.size)
	}
	return nil
}

// receive writes what comes until everything has.
func (t *transfer) receive() error {
	for buffer := make([]byte, chunk); ; {
		n, err := t.source.Read(buffer)
		kept, failed := t.upload.Write(buffer[:n])
		t.committed += int64(kept)
		if failed == nil && n > 0 {
			failed = t.tell(t.committed, t.size)
		}
		switch {
		case failed != nil:
			return failed
		case errors.Is(err, io.EOF) && t.committed < t.size:
			return fmt.Errorf("%w: it ended after %d of %d bytes", ErrPassing, t.committed, t.size)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
