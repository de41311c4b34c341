package server

import (
	"time"

	"google.golang.org/grpc"

	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

const (
	minWatchInterval = 50 * time.Millisecond
	maxWatchInterval = time.Hour
)

// WatchEvents streams what happens, in order.
func (s *supervisorService) WatchEvents(r *pb.WatchEventsRequest, stream grpc.ServerStreamingServer[pb.WatchEventsResponse]) error {
	c := &checker{}
	if r.GetService() != "" {
		c.name("service", r.GetService())
	}
	c.that(r.GetAfterSequence() >= -1, "after_sequence", "is less than -1")
	if err := c.err(); err != nil {
		return err
	}
	return s.supervisor.WatchEvents(stream.Context(), r.GetService(), r.GetAfterSequence(), !r.GetNoFollow(), func(e supervisor.Event) error {
		if !s.server.mayRead(stream.Context(), e.Service) {
			return nil
		}
		return stream.Send(&pb.WatchEventsResponse{Event: toEvent(e)})
	})
}

// WatchService streams a service, or all, as they stand. A reader that is slow
// misses what was in between, never the last.
func (s *supervisorService) WatchService(r *pb.WatchServiceRequest, stream grpc.ServerStreamingServer[pb.WatchServiceResponse]) error {
	c := &checker{}
	if r.GetName() != "" {
		c.name("name", r.GetName())
	}
	interval := c.durationOr("min_interval", r.GetMinInterval(), minWatchInterval)
	c.that(interval >= 0 && interval <= maxWatchInterval, "min_interval", "is not from 50ms to 1h")
	if err := c.err(); err != nil {
		return err
	}
	return s.supervisor.Watch(stream.Context(), r.GetName(), max(interval, minWatchInterval), func(status supervisor.Status, deleted string) error {
		if !s.server.mayRead(stream.Context(), status.Name) || !s.server.mayRead(stream.Context(), deleted) {
			return nil
		}
		if deleted != "" {
			return stream.Send(&pb.WatchServiceResponse{Deleted: deleted})
		}
		return stream.Send(&pb.WatchServiceResponse{Status: toStatusMessage(status)})
	})
}
