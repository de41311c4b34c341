package runner

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/internal/pause"
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
		if err := pause.For(ctx, max(jitter(wait), after)); err != nil {
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

// connect makes a connection before it is needed.
func (t *task) connect(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return t.reach(limited, func(_ context.Context, c *conn) error { return c.broken() })
}

func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) } //nolint:gosec // it need not be unforeseeable
