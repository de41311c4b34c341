package runner

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

const (
	// callLimit bounds one attempt of a call, the connection included: an agent answers
	// when it has written down what it will do.
	callLimit = 10 * time.Second
	// The time between two attempts grows from the one to the other.
	firstWait, lastWait = 100 * time.Millisecond, 5 * time.Second
	// again is when something is asked once more that should have been enough.
	again = 2 * time.Second
)

// host is what all tasks of one host share.
type host struct {
	name string

	mu      sync.Mutex
	epoch   int64     // of the lease; 0 before a claim
	heard   time.Time // when it answered last
	failing time.Time // since when it does not; zero when it does
	failure error     // the last
}

func (h *host) driver(r *Runner) *pb.RolloutDriver {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &pb.RolloutDriver{Service: r.spec.Service, RolloutId: r.id, Epoch: h.epoch}
}

func (h *host) setEpoch(epoch int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.epoch = epoch
}

func (h *host) answered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard, h.failing = time.Now(), time.Time{}
}

// failed notes a failure of what began at an instant.
func (h *host) failed(since time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failure = err
	if !h.failing.IsZero() {
		return
	}
	if h.failing = since; since.Before(h.heard) {
		h.failing = time.Now() // it was there meanwhile
	}
}

// lost is why nothing was answered, when that has lasted for too long.
func (h *host) lost(after time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failing.IsZero() || time.Since(h.failing) < after {
		return nil
	}
	return h.failure
}

// task is one effect that is under way. It is one goroutine, and those that it waits
// for.
type task struct {
	*Runner
	rollout.Effect
	*host
	first bool // the host decides who drives
	// driven says that another driver had the host's lease when it was asked last.
	driven bool
	why    string
	last   news
	stop   context.CancelFunc
	// stopped is the owner's: it wants no more answers.
	stopped bool
	silent  bool // told Unreachable, and nothing since
	// refusing is since when the agent has answered nothing but refusals that mean
	// nothing to the machine.
	refusing time.Time
}

// run keeps the effect going until ctx ends.
func (t *task) run(ctx context.Context) {
	for wait := again; ctx.Err() == nil; wait = min(2*wait, lastWait) {
		err := t.perform(ctx)
		if api.ReasonOf(err) == pb.Reason_REASON_ROLLOUT_NOT_FOUND {
			err = t.look(ctx, t.report) // the claim was given up, or the host has lost what it knew
		}
		if err != nil {
			t.refused(ctx, err)
		}
		// What was told ends the effect, unless it came late.
		_ = pause(ctx, wait)
	}
}

func (t *task) perform(ctx context.Context) error {
	switch t.Kind {
	case rollout.Claim:
		return t.claim(ctx)
	case rollout.Lease:
		return t.lease(ctx)
	case rollout.Fetch:
		return t.fetch(ctx)
	case rollout.Upgrade:
		return t.upgrade(ctx)
	case rollout.Follow:
		return t.follow(ctx)
	case rollout.Undo:
		return t.undo(ctx)
	case rollout.GiveUp:
		return t.giveUp(ctx)
	}
	return t.connect(ctx)
}

// refused tells what an answer means wherever it is given.
func (t *task) refused(ctx context.Context, err error) {
	e := api.FromStatus(err)
	switch e.Reason {
	case pb.Reason_REASON_ROLLOUT_OVERTAKEN:
		by := heldBy(t.Host, e)
		if by.Driver != t.o.Driver {
			t.overtaken(ctx, by)
			return
		}
		// An earlier claim of its own came through after all, when the lease was over.
		_, _ = t.ask(ctx)
	case pb.Reason_REASON_ROLLOUT_NOT_FOUND:
		t.tell(ctx, rollout.Event{Type: rollout.Forgotten, Message: e.Message})
	default:
		t.refuses()
		t.tellLost(ctx, err)
	}
}

// refuses notes that the agent answers, and to no avail.
func (t *task) refuses() {
	if t.refusing.IsZero() {
		t.refusing = time.Now()
	}
}

func (t *task) overtaken(ctx context.Context, by *HeldError) {
	t.send(ctx, message{held: by, event: rollout.Event{Type: rollout.Overtaken, Host: t.Host, Message: by.holder()}})
}

// look finds out how the host is, whoever has called it since. Where that was another
// driver, or the claim is not there any more, it says so.
func (t *task) look(ctx context.Context, tell func(context.Context, *pb.RolloutReport)) error {
	report, err := t.get(ctx)
	switch {
	case err != nil:
		return err
	case report.GetDriver() != t.o.Driver:
		t.overtaken(ctx, t.heldAs(report))
	default:
		tell(ctx, report)
	}
	return nil
}

// heldAs says that who drives by a report's word is somebody else.
func (t *task) heldAs(report *pb.RolloutReport) *HeldError {
	return &HeldError{
		Host: t.Host, Reason: pb.Reason_REASON_ROLLOUT_OVERTAKEN, Rollout: t.id, SpecHash: t.hash,
		Driver: report.GetDriver(), Actor: report.GetActor(), Message: "another driver has the rollout: " + report.GetDriver(),
	}
}

// get is how the host is, whoever drives.
func (t *task) get(ctx context.Context) (*pb.RolloutReport, error) {
	return t.call(ctx, func(ctx context.Context, c pb.RolloutServiceClient) (*pb.RolloutReport, error) {
		answer, err := c.GetRollout(ctx, &pb.GetRolloutRequest{Service: t.spec.Service, RolloutId: t.id})
		return answer.GetReport(), err
	})
}

// call makes one call until it is answered, well or badly. Only what cannot have been
// heard, or may be asked again by the agent's word, is tried again: that is harmless,
// since each call may be repeated.
func (t *task) call(ctx context.Context, do func(context.Context, pb.RolloutServiceClient) (*pb.RolloutReport, error)) (*pb.RolloutReport, error) {
	longest := lastWait
	if t.Kind == rollout.Lease {
		longest = min(longest, t.o.Lease/6) // else it ends between two attempts
	}
	for wait := min(firstWait, longest); ; wait = min(2*wait, longest) {
		report, err := t.attempt(ctx, do)
		if err == nil || !transient(err) && api.FromStatus(err).RetryAfter == 0 {
			return report, err
		}
		after := min(api.FromStatus(err).RetryAfter, time.Minute)
		if after > 0 {
			t.refuses()
		}
		t.tellLost(ctx, err)
		if err := pause(ctx, max(jitter(wait), after)); err != nil {
			return nil, err
		}
	}
}

func (t *task) attempt(ctx context.Context, do func(context.Context, pb.RolloutServiceClient) (*pb.RolloutReport, error)) (report *pb.RolloutReport, err error) {
	if t.brief() {
		select {
		case t.calls <- struct{}{}:
			defer func() { <-t.calls }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	limit := callLimit
	if t.Kind == rollout.Lease {
		limit = min(limit, t.o.Lease/3)
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = t.reach(limited, func(ctx context.Context, c *conn) (err error) {
		report, err = do(ctx, pb.NewRolloutServiceClient(c))
		return err
	})
	return report, err
}

// brief says that every host has the effect at the same time: they take turns.
func (t *task) brief() bool {
	switch t.Kind {
	case rollout.Claim, rollout.Fetch, rollout.Follow, rollout.GiveUp:
		return true
	}
	return false
}

// reach does something on a connection to the host, and notes whether that answers.
func (t *task) reach(ctx context.Context, do func(context.Context, *conn) error) error {
	since := time.Now()
	c, err := t.pool.get(ctx, t.Host)
	if err == nil {
		err = do(ctx, c)
		t.pool.put(c, transient(err))
	}
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled):
	case transient(err):
		t.failed(since, err)
	default:
		t.answered()
	}
	return err
}

// transient says that an answer is none of the agent's, which has reasons: it cannot be
// reached, or did not answer in time.
func transient(err error) bool {
	if err == nil {
		return false
	}
	switch e := api.FromStatus(err); e.Code {
	case codes.Unavailable:
		return e.RetryAfter == 0 && e.Reason == pb.Reason_REASON_UNSPECIFIED
	case codes.DeadlineExceeded:
		return true
	}
	return false
}

// tellLost tells once that the host is out of reach, when that has lasted.
func (t *task) tellLost(ctx context.Context, err error) {
	inVain := !t.refusing.IsZero() && time.Since(t.refusing) >= t.o.Lease
	if t.silent || ctx.Err() != nil || !inVain && t.lost(t.o.Lease) == nil {
		return
	}
	t.silent = true
	t.tell(ctx, rollout.Event{Type: rollout.Unreachable, Message: api.FromStatus(err).Message})
}

// report tells what an agent said.
func (t *task) report(ctx context.Context, r *pb.RolloutReport) {
	t.silent, t.refusing, t.last = false, time.Time{}, newsOf(r)
	t.send(ctx, message{event: told(t.Host, r), report: r})
}

// update tells it when there is something new in it.
func (t *task) update(ctx context.Context, r *pb.RolloutReport) {
	if t.silent || newsOf(r) != t.last {
		t.report(ctx, r)
	}
}

func (t *task) send(ctx context.Context, m message) {
	m.from = t
	select {
	case t.inbox <- m:
	case <-ctx.Done():
	}
}

func (t *task) tell(ctx context.Context, e rollout.Event) {
	e.Host = t.Host
	t.send(ctx, message{event: e})
}

// connect makes a connection before it is needed.
func (t *task) connect(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return t.reach(limited, func(_ context.Context, c *conn) error { return c.broken() })
}

func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) } //nolint:gosec // it need not be unforeseeable

// pause waits; the error is why it ended early.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
