package runner

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// turn is how long one host is watched before others are.
const turn = 10 * time.Second

// fetch sees to it that the host gets what it lacks. What was delivered is there at once;
// what the host lacks all the same, it fetches by itself.
func (t *task) fetch(ctx context.Context) error {
	var delivered []string
	for ctx.Err() == nil {
		report, err := t.renew(ctx)
		if err != nil {
			return err
		}
		if report.GetProgress() != pb.RolloutReport_PROGRESS_CLAIMED {
			t.report(ctx, report)
			return nil
		}
		t.update(ctx, report)
		missing := report.GetMissing()
		if t.o.Deliver == nil || slices.Equal(missing, delivered) {
			t.await(ctx)
			delivered = nil
			continue
		}
		there, err := t.deliver(ctx, missing)
		if err != nil {
			if ctx.Err() == nil {
				t.tell(ctx, rollout.Event{Type: rollout.FetchFailed, Message: err.Error()})
			}
			return nil
		}
		if there {
			delivered = missing
		}
	}
	return nil
}

// await watches a host that still lacks something for one turn: a thousand hosts that
// fetch by themselves are not asked every second, nor connected to all at once.
func (t *task) await(ctx context.Context) {
	select {
	case t.calls <- struct{}{}:
		defer func() { <-t.calls }()
	case <-ctx.Done():
		return
	}
	limited, cancel := context.WithCancel(ctx) // the end of a turn is no failure
	defer cancel()
	defer time.AfterFunc(turn, cancel).Stop()
	lacks := func(r *pb.RolloutReport) bool {
		t.update(ctx, r)
		return r.GetProgress() == pb.RolloutReport_PROGRESS_CLAIMED
	}
	if err := t.stream(limited, lacks); err != nil && limited.Err() == nil {
		_ = pause.For(ctx, again)
	}
}

// deliver has the caller bring what is missing, and says whether it is there. A connection
// that fails is no reason to give up, nor is a source that is away: either may be back
// before the host's time is over.
func (t *task) deliver(ctx context.Context, missing []string) (there bool, err error) {
	select {
	case t.deliveries <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-t.deliveries }()
	err = t.reach(ctx, func(ctx context.Context, c *conn) error {
		return t.o.Deliver(ctx, Delivery{
			Host: t.Host, Conn: c.ClientConn, Release: t.Release, Missing: missing,
			Sent: func(bytes, of int64) { t.send(ctx, message{host: t.Host, sent: bytes, size: of}) },
		})
	})
	switch e := api.FromStatus(err); {
	case transient(err):
		t.tellLost(ctx, err)
	case err != nil && (e.RetryAfter > 0 || e.Code == codes.Unavailable):
		t.tell(ctx, rollout.Event{Type: rollout.FetchDelayed, Message: e.Message})
	default:
		return err == nil, err
	}
	return false, pause.For(ctx, again)
}
