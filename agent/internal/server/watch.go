package server

import (
	"sync"
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
			s.statuses.forget(deleted)
			return stream.Send(&pb.WatchServiceResponse{Deleted: deleted})
		}
		m, err := s.statuses.message(stream, status)
		if err != nil {
			return err
		}
		return stream.SendMsg(m)
	})
}

// statusMessages shares the bytes of a status among all who watch a service. Readers
// that are slow hold messages back; a thousand of them hold the same ones. It is safe
// for concurrent use.
type statusMessages struct {
	mu   sync.Mutex
	last map[string]statusMessage // by service
}

type statusMessage struct {
	look    uint64
	message *grpc.PreparedMsg
}

// message is a status as a stream sends it. There is one codec, and no compression,
// so what was made for one stream fits all.
func (s *statusMessages) message(stream grpc.ServerStream, status supervisor.Status) (*grpc.PreparedMsg, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.last[status.Name]
	if status.Look != 0 && status.Look == last.look {
		return last.message, nil
	}
	m := &grpc.PreparedMsg{}
	if err := m.Encode(stream, &pb.WatchServiceResponse{Status: toStatusMessage(status)}); err != nil {
		return nil, err
	}
	if status.Look > last.look {
		s.last[status.Name] = statusMessage{status.Look, m}
	}
	return m, nil
}

func (s *statusMessages) forget(service string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.last, service)
}
