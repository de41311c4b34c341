package server

import (
	"context"
	"fmt"

	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// supervisorService is the contract's SupervisorService.
type supervisorService struct {
	pb.UnimplementedSupervisorServiceServer
	server     *Server
	supervisor Supervisor
	store      Store
	statuses   *statusMessages
}

// ApplyService declares a service.
func (s *supervisorService) ApplyService(ctx context.Context, r *pb.ApplyServiceRequest) (*pb.ApplyServiceResponse, error) {
	c := &checker{}
	request := supervisor.ApplyRequest{
		Caller: c.caller(ctx, r.GetRequestId(), r.GetReason()), Signing: c.signing(r),
		Spec: c.spec(r.GetName(), r.GetSpec()), ETag: r.GetEtag(), DryRun: r.GetValidateOnly(),
	}
	c.text("etag", r.GetEtag(), maxText)
	if err := c.err(); err != nil {
		return nil, err
	}
	result, err := s.supervisor.Apply(ctx, request)
	if err != nil {
		return nil, err
	}
	return &pb.ApplyServiceResponse{
		Service: toService(result.Status), Changes: toChanges(result.Changes), Created: result.Created,
		Upgrade: toUpgrade(result.Upgrade), Warnings: texts(result.Warnings),
	}, nil
}

// GetService returns one service as it stands.
func (s *supervisorService) GetService(ctx context.Context, r *pb.GetServiceRequest) (*pb.GetServiceResponse, error) {
	if err := checkName("name", r.GetName()); err != nil {
		return nil, err
	}
	status, err := s.supervisor.Get(ctx, r.GetName())
	if err != nil {
		return nil, err
	}
	return &pb.GetServiceResponse{Status: toStatusMessage(status)}, nil
}

// ListServices returns a page of the services by name.
func (s *supervisorService) ListServices(ctx context.Context, r *pb.ListServicesRequest) (*pb.ListServicesResponse, error) {
	list, err := s.supervisor.List(ctx)
	if err != nil {
		return nil, err
	}
	var all []item[*pb.ServiceStatus]
	for _, status := range list {
		if !s.server.mayRead(ctx, status.Name) {
			continue
		}
		all = append(all, item[*pb.ServiceStatus]{status.Name, toStatusMessage(status)})
	}
	services, next, err := page(all, false, r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &pb.ListServicesResponse{Services: services, NextPageToken: next}, nil
}

// command reads what the requests about one service have in common.
func command(ctx context.Context, r interface {
	GetName() string
	GetValidateOnly() bool
	GetRequestId() string
	GetReason() string
},
) (supervisor.ServiceCommand, error) {
	c := &checker{}
	c.name("name", r.GetName())
	cmd := supervisor.ServiceCommand{
		Caller:  c.caller(ctx, r.GetRequestId(), r.GetReason()),
		Service: r.GetName(), DryRun: r.GetValidateOnly(),
	}
	return cmd, c.err()
}

// StopService stops a service.
func (s *supervisorService) StopService(ctx context.Context, r *pb.StopServiceRequest) (*pb.StopServiceResponse, error) {
	cmd, err := command(ctx, r)
	if err != nil {
		return nil, err
	}
	cmd.Now = r.GetNow()
	status, err := s.supervisor.Stop(ctx, cmd)
	if err != nil {
		return nil, err
	}
	return &pb.StopServiceResponse{Status: toStatusMessage(status)}, nil
}

// StartService starts a stopped service.
func (s *supervisorService) StartService(ctx context.Context, r *pb.StartServiceRequest) (*pb.StartServiceResponse, error) {
	cmd, err := command(ctx, r)
	if err != nil {
		return nil, err
	}
	status, err := s.supervisor.Start(ctx, cmd)
	if err != nil {
		return nil, err
	}
	return &pb.StartServiceResponse{Status: toStatusMessage(status)}, nil
}

// ReloadService signals the active generation.
func (s *supervisorService) ReloadService(ctx context.Context, r *pb.ReloadServiceRequest) (*pb.ReloadServiceResponse, error) {
	cmd, err := command(ctx, r)
	if err != nil {
		return nil, err
	}
	status, confirmed, err := s.supervisor.Reload(ctx, cmd)
	if err != nil {
		return nil, err
	}
	return &pb.ReloadServiceResponse{Confirmed: confirmed, Status: toStatusMessage(status)}, nil
}

// DeleteService forgets a stopped service.
func (s *supervisorService) DeleteService(ctx context.Context, r *pb.DeleteServiceRequest) (*pb.DeleteServiceResponse, error) {
	cmd, err := command(ctx, r)
	if err != nil {
		return nil, err
	}
	cmd.Keep = r.GetKeepRunning()
	if err := s.supervisor.Delete(ctx, cmd); err != nil {
		return nil, err
	}
	return &pb.DeleteServiceResponse{}, nil
}

// ListGenerations returns a page of a service's generations, newest first.
func (s *supervisorService) ListGenerations(ctx context.Context, r *pb.ListGenerationsRequest) (*pb.ListGenerationsResponse, error) {
	if err := checkName("service", r.GetService()); err != nil {
		return nil, err
	}
	list, err := s.supervisor.Generations(ctx, r.GetService())
	if err != nil {
		return nil, err
	}
	var all []item[*pb.Generation]
	for _, g := range list {
		all = append(all, item[*pb.Generation]{fmt.Sprintf("%010d", g.Number), toGeneration(g)})
	}
	generations, next, err := page(all, true, r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &pb.ListGenerationsResponse{Generations: generations, NextPageToken: next}, nil
}

func checkName(field, name string) error {
	c := &checker{}
	c.name(field, name)
	return c.err()
}
