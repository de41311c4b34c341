package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/pause"
)

const (
	// watchInterval is the least time between two looks at a service.
	watchInterval = 100 * time.Millisecond
	// patience is how long an agent may be away during a watch: one that
	// restarts is back within a second.
	patience = 30 * time.Second
	// reconnect is the time between two attempts.
	reconnect = 250 * time.Millisecond
)

var errDeleted = errors.New("the service was deleted")

// look is one message of a watch, or its end.
type look struct {
	status  *pb.ServiceStatus
	deleted string
	away    error // the agent cannot be reached at the moment
	err     error // the watch is over
}

// watch shows a service (every service, for "") in a view until done says so.
// It goes on over a restart of the agent.
func (s *session) watch(ctx context.Context, c *client, service string, v view, done func(*pb.ServiceStatus) (bool, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	looks := make(chan look)
	go c.watch(ctx, service, looks)
	defer func() {
		cancel()
		for range looks { // its end is the goroutine's
		}
	}()
	defer v.clear()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			v.tick(time.Now())
		case l, ok := <-looks:
			switch {
			case !ok:
				return ctx.Err()
			case l.err != nil:
				return l.err
			case l.away != nil:
				v.note("the agent is away, trying again")
			case l.deleted != "":
				if service != "" {
					return fmt.Errorf("%s: %w", l.deleted, errDeleted)
				}
				v.drop(l.deleted)
			default:
				v.show(l.status, time.Now())
				if over, err := done(l.status); over || err != nil {
					return err
				}
			}
		}
	}
}

// watch sends what the agent streams until ctx ends or the watch fails, and
// closes looks.
func (c *client) watch(ctx context.Context, service string, looks chan<- look) {
	defer close(looks)
	send := func(l look) {
		select {
		case looks <- l:
		case <-ctx.Done():
		}
	}
	seen := time.Now()
	away := false
	for ctx.Err() == nil {
		err := c.stream(ctx, service, func(l look) {
			seen, away = time.Now(), false
			send(l)
		})
		switch {
		case ctx.Err() != nil:
			return
		case status.Code(err) != codes.Unavailable && !errors.Is(err, io.EOF), turnedAway(err):
			send(look{err: err})
			return
		case time.Since(seen) > patience:
			send(look{err: &exitError{ExitDetached, fmt.Errorf("the agent was away for %s; services and upgrades do not depend on that: %w", span(patience), err)}})
			return
		case !away:
			away = true
			send(look{away: err})
		}
		_ = pause.For(ctx, reconnect)
	}
}

// stream receives from one call until it fails.
func (c *client) stream(ctx context.Context, service string, send func(look)) error {
	stream, err := c.services.WatchService(ctx, &pb.WatchServiceRequest{Name: service, MinInterval: durationpb.New(watchInterval)})
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		send(look{status: m.GetStatus(), deleted: m.GetDeleted()})
	}
}
