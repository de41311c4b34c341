package server

import (
	"context"

	"google.golang.org/grpc"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/claim"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// rolloutService is the contract's RolloutService.
type rolloutService struct {
	pb.UnimplementedRolloutServiceServer
	server     *Server
	supervisor Supervisor
}

// ClaimRollout gives a service to a rollout, and the lease to a driver.
func (s *rolloutService) ClaimRollout(ctx context.Context, r *pb.ClaimRolloutRequest) (*pb.ClaimRolloutResponse, error) {
	request, err := claimRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	request.Admin = s.server.require(ctx, access.Admin, r.GetService()) == nil
	report, spec, err := s.supervisor.ClaimRollout(ctx, request)
	if err != nil {
		return nil, err
	}
	return &pb.ClaimRolloutResponse{Report: toRollout(report), Spec: spec}, nil
}

// RenewRollout keeps a lease, or ends it.
func (s *rolloutService) RenewRollout(ctx context.Context, r *pb.RenewRolloutRequest) (*pb.RenewRolloutResponse, error) {
	c := &checker{}
	d := c.driver(r.GetDriver())
	if err := c.err(); err != nil {
		return nil, err
	}
	renew := s.supervisor.RenewRollout
	if r.GetEnd() {
		renew = s.supervisor.EndLease
	}
	report, err := renew(ctx, r.GetDriver().GetService(), d)
	if err != nil {
		return nil, err
	}
	return &pb.RenewRolloutResponse{Report: toRollout(report)}, nil
}

// AdvanceRollout has the host begin its upgrade, promote it, fail it, or go back.
func (s *rolloutService) AdvanceRollout(ctx context.Context, r *pb.AdvanceRolloutRequest) (*pb.AdvanceRolloutResponse, error) {
	c := &checker{}
	request := supervisor.AdvanceRequest{
		Caller: c.caller(ctx, "", r.GetReason()), Driver: c.driver(r.GetDriver()),
		Service: r.GetDriver().GetService(), Step: supervisor.Step(c.enum("step", r.GetStep())),
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	report, err := s.supervisor.AdvanceRollout(ctx, request)
	if err != nil {
		return nil, err
	}
	return &pb.AdvanceRolloutResponse{Report: toRollout(report)}, nil
}

// WatchRollout streams how a service is within a rollout. A reader that is slow misses
// what was in between, never the last.
func (s *rolloutService) WatchRollout(r *pb.WatchRolloutRequest, stream grpc.ServerStreamingServer[pb.WatchRolloutResponse]) error {
	c := &checker{}
	c.name("service", r.GetService())
	c.id("rollout_id", r.GetRolloutId())
	if err := c.err(); err != nil {
		return err
	}
	return s.supervisor.WatchRollout(stream.Context(), r.GetService(), r.GetRolloutId(), minWatchInterval, func(report supervisor.Rollout) error {
		return stream.Send(&pb.WatchRolloutResponse{Report: toRollout(report)})
	})
}

// ControlRollout leaves a word for a rollout's driver.
func (s *rolloutService) ControlRollout(ctx context.Context, r *pb.ControlRolloutRequest) (*pb.ControlRolloutResponse, error) {
	c := &checker{}
	c.name("service", r.GetService())
	c.id("rollout_id", r.GetRolloutId())
	by := c.caller(ctx, r.GetRequestId(), r.GetReason())
	w := claim.Word{Action: claim.Action(c.enum("action", r.GetAction())), Wave: int(r.GetWave()), Actor: by.Actor, Reason: by.Comment}
	if w.Action == claim.Promote {
		c.that(w.Wave > 0 && w.Wave <= maxWaves, "wave", "is not from 1 to 100000")
	} else {
		c.that(w.Wave == 0, "wave", "goes with ACTION_PROMOTE")
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	report, driven, err := s.supervisor.ControlRollout(ctx, r.GetService(), r.GetRolloutId(), w)
	if err != nil {
		return nil, err
	}
	return &pb.ControlRolloutResponse{Report: toRollout(report), Driven: driven}, nil
}

// ReleaseRollout gives a claim up.
func (s *rolloutService) ReleaseRollout(ctx context.Context, r *pb.ReleaseRolloutRequest) (*pb.ReleaseRolloutResponse, error) {
	c := &checker{}
	d := c.driver(r.GetDriver())
	c.text("ending", r.GetEnding(), maxText)
	if err := c.err(); err != nil {
		return nil, err
	}
	report, err := s.supervisor.ReleaseRollout(ctx, r.GetDriver().GetService(), d, r.GetEnding())
	if err != nil {
		return nil, err
	}
	return &pb.ReleaseRolloutResponse{Report: toRollout(report)}, nil
}

// GetRollout returns a service's part in a rollout, and that whole.
func (s *rolloutService) GetRollout(ctx context.Context, r *pb.GetRolloutRequest) (*pb.GetRolloutResponse, error) {
	c := &checker{}
	c.name("service", r.GetService())
	if r.GetRolloutId() != "" {
		c.id("rollout_id", r.GetRolloutId())
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	report, spec, err := s.supervisor.GetRollout(ctx, r.GetService(), r.GetRolloutId())
	if err != nil {
		return nil, err
	}
	return &pb.GetRolloutResponse{Report: toRollout(report), Spec: spec}, nil
}

// ListRollouts returns the host's parts in rollouts, newest first.
func (s *rolloutService) ListRollouts(ctx context.Context, r *pb.ListRolloutsRequest) (*pb.ListRolloutsResponse, error) {
	if r.GetService() != "" {
		if err := checkName("service", r.GetService()); err != nil {
			return nil, err
		}
	}
	list, err := s.supervisor.Rollouts(ctx, r.GetService())
	if err != nil {
		return nil, err
	}
	answer := &pb.ListRolloutsResponse{Freeze: toFreeze(s.supervisor.Frozen())}
	for _, report := range list {
		if s.server.mayRead(ctx, report.Service) {
			answer.Reports = append(answer.Reports, toRollout(report))
		}
	}
	return answer, nil
}

// FreezeHost stops all upgrades.
func (s *rolloutService) FreezeHost(ctx context.Context, r *pb.FreezeHostRequest) (*pb.FreezeHostResponse, error) {
	by, err := withReason(ctx, r)
	if err != nil {
		return nil, err
	}
	f, err := s.supervisor.Freeze(by)
	if err != nil {
		return nil, err
	}
	return &pb.FreezeHostResponse{Freeze: toFreeze(&f)}, nil
}

// UnfreezeHost allows them again.
func (s *rolloutService) UnfreezeHost(ctx context.Context, r *pb.UnfreezeHostRequest) (*pb.UnfreezeHostResponse, error) {
	by, err := withReason(ctx, r)
	if err != nil {
		return nil, err
	}
	f, err := s.supervisor.Unfreeze(by)
	if err != nil {
		return nil, err
	}
	return &pb.UnfreezeHostResponse{Freeze: toFreeze(f)}, nil
}

// withReason reads a request that has to say why.
func withReason(ctx context.Context, r interface {
	GetRequestId() string
	GetReason() string
},
) (supervisor.Caller, error) {
	c := &checker{}
	by := c.caller(ctx, r.GetRequestId(), r.GetReason())
	c.because(r.GetReason())
	return by, c.err()
}
