//go:build linux

package harness

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// Client returns the agent's API. The connection is shared, survives restarts of
// the agent, and is closed with it.
func (a *Agent) Client(t testing.TB) *grpc.ClientConn {
	t.Helper()
	if a.conn == nil {
		conn, err := api.Dial("unix:" + a.Socket)
		if err != nil {
			t.Fatal(err)
		}
		a.conn = conn
	}
	return a.conn
}

// Status returns a service as it stands.
func (a *Agent) Status(t testing.TB, service string) *pb.ServiceStatus {
	t.Helper()
	// An agent that is starting is waited for; one that died is not.
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	answer, err := pb.NewSupervisorServiceClient(a.Client(t)).
		GetService(ctx, &pb.GetServiceRequest{Name: service}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetStatus()
}

// Generation returns one of a status's generations, nil when it has none of that
// number; the getters of a nil message answer with zeros.
func Generation(s *pb.ServiceStatus, number int32) *pb.Generation {
	for _, g := range s.GetGenerations() {
		if g.GetNumber() == number {
			return g
		}
	}
	return nil
}

// Active returns a status's active generation, or nil.
func Active(s *pb.ServiceStatus) *pb.Generation {
	return Generation(s, s.GetService().GetActiveGeneration())
}

// Await returns the first status that satisfies a condition. It hears of every
// change as it happens, also over restarts of the agent, and fails the test when
// the time is up.
func (a *Agent) Await(t testing.TB, service string, cond func(*pb.ServiceStatus) bool, timeout time.Duration) *pb.ServiceStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	var last *pb.ServiceStatus
	for {
		err := a.follow(ctx, t, service, func(s *pb.ServiceStatus) bool {
			last = s
			return cond(s)
		})
		switch {
		case err == nil:
			return last
		case ctx.Err() != nil:
			t.Fatalf("%s is not as awaited after %v:\n%s", service, timeout, prototext.Format(brief(last)))
		case !gone(err):
			t.Fatalf("watching %s: %v", service, err)
		}
	}
}

func (a *Agent) follow(ctx context.Context, t testing.TB, service string, done func(*pb.ServiceStatus) bool) error {
	stream, err := pb.NewSupervisorServiceClient(a.Client(t)).WatchService(ctx,
		&pb.WatchServiceRequest{Name: service, MinInterval: durationpb.New(50 * time.Millisecond)}, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if m.GetDeleted() != "" {
			return errors.New("it was deleted")
		}
		if done(m.GetStatus()) {
			return nil
		}
	}
}

// gone says whether the agent went away in the middle of a watch.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || status.Code(err) == codes.Unavailable
}

// brief leaves out what fills pages.
func brief(s *pb.ServiceStatus) *pb.ServiceStatus {
	if s == nil {
		return nil
	}
	s.Service.Spec = nil
	for _, g := range s.GetGenerations() {
		g.Spec = nil
	}
	return s
}

func (a *Agent) services(ctx context.Context, t testing.TB) []string {
	t.Helper()
	answer, err := pb.NewSupervisorServiceClient(a.Client(t)).ListServices(ctx, &pb.ListServicesRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Errorf("cleaning up: %v", err)
		return nil
	}
	var names []string
	for _, s := range answer.GetServices() {
		names = append(names, s.GetService().GetName())
	}
	return names
}
