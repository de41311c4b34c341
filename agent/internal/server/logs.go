package server

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc"

	"github.com/gracefleet/gracefleet/agent/internal/store"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// ReadLogs streams what the generations of a service wrote.
func (s *supervisorService) ReadLogs(r *pb.ReadLogsRequest, stream grpc.ServerStreamingServer[pb.ReadLogsResponse]) error {
	options, err := tailOptions(r)
	if err != nil {
		return err
	}
	// Asked first: a log of a service that does not exist would be followed forever.
	if _, err := s.supervisor.Get(stream.Context(), r.GetService()); err != nil {
		return err
	}
	err = s.store.Tail(stream.Context(), options, func(l store.Line) error {
		return stream.Send(&pb.ReadLogsResponse{Generation: count(l.Generation), Time: newTimestamp(l.Time), Line: l.Text, LostBytes: l.Lost})
	})
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	all, err := s.supervisor.Generations(stream.Context(), r.GetService())
	if err != nil {
		return err
	}
	exists := func(g supervisor.Generation) bool { return g.Number == options.Generation }
	if options.Generation == 0 || slices.ContainsFunc(all, exists) {
		return nil // nothing was written yet
	}
	return fmt.Errorf("service %s, logs of generation %d: %w", r.GetService(), options.Generation, supervisor.ErrGenerationNotFound)
}

func tailOptions(r *pb.ReadLogsRequest) (store.TailOptions, error) {
	c := &checker{}
	c.name("service", r.GetService())
	c.that(r.GetGeneration() >= 0, "generation", "is negative")
	c.that(r.GetLines() >= 0, "lines", "is negative")
	o := store.TailOptions{
		Service: r.GetService(), Generation: int(r.GetGeneration()), Lines: int(r.GetLines()), Follow: r.GetFollow(),
	}
	if r.GetSince() != nil {
		c.failed("since", r.GetSince().CheckValid())
		o.Since = r.GetSince().AsTime()
	}
	return o, c.err()
}
