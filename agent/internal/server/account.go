package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// accounts are what callers have used of what they may. Whoever could end the agent
// has none: a limit would keep nobody from harm, and might keep them from repairing
// it. It is safe for concurrent use.
type accounts struct {
	pace rate.Limit // of changes

	mu  sync.Mutex
	all map[string]*account
}

// account is one caller's, over all of their connections.
type account struct {
	changes *rate.Limiter // calls that change something
	frames  *rate.Limiter // see pacedConn
}

func newAccounts() *accounts { return &accounts{pace: changesPerSecond, all: map[string]*account{}} }

// of is a caller's account. The mutex is held.
func (a *accounts) of(key string) *account {
	if one := a.all[key]; one != nil {
		return one
	}
	if len(a.all) >= maxAccounts {
		a.forget()
	}
	one := &account{changes: rate.NewLimiter(a.pace, changesAtOnce), frames: newFrames()}
	a.all[key] = one
	return one
}

// forget drops the accounts that say no more than new ones would.
func (a *accounts) forget() {
	for key, one := range a.all {
		if one.changes.Tokens() >= changesAtOnce && one.frames.Tokens() >= framesAtOnce {
			delete(a.all, key)
		}
	}
}

// frames is the pace at which a caller may be read from.
func (a *accounts) frames(key string) *rate.Limiter {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.of(key).frames
}

func newFrames() *rate.Limiter { return rate.NewLimiter(framesPerSecond, framesAtOnce) }

// change counts a call that changes something, or says when the next may come.
func (a *accounts) change(key string, now time.Time) (wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.of(key).changes.ReserveN(now, 1)
	if wait = r.DelayFrom(now); wait > 0 {
		r.CancelAt(now) // it is not made
	}
	return wait
}

// spend refuses a change to whoever asks for too many of them.
func (s *Server) spend(ctx context.Context, method string) error {
	c, known := callerOf(ctx)
	if !known || !rules[method].mutates || c.almighty(s.owner) {
		return nil
	}
	wait := s.accounts.change(c.key, time.Now())
	if wait == 0 {
		return nil
	}
	return &api.Error{
		Code: codes.ResourceExhausted, Reason: pb.Reason_REASON_RATE_LIMITED, RetryAfter: wait,
		Message: fmt.Sprintf("%s asks for more than %d changes a second: nothing was done, ask again in %v", c.Name, changesPerSecond, wait.Round(time.Millisecond)),
	}
}

// beginUpload counts an upload of whoever calls until it is over.
func (s *Server) beginUpload(ctx context.Context) (over func(), err error) {
	c, _ := callerOf(ctx)
	if c.almighty(s.owner) {
		return func() {}, nil
	}
	over, err = s.uploads.take(c.key, "uploads under way")
	if err != nil {
		return nil, &api.Error{
			Code: codes.ResourceExhausted, Reason: pb.Reason_REASON_TOO_MANY_UPLOADS, RetryAfter: uploadRetry,
			Message: err.Error() + ": wait until one is over",
		}
	}
	return over, nil
}
