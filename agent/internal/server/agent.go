package server

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// agentService is the contract's AgentService.
type agentService struct {
	pb.UnimplementedAgentServiceServer
	server *Server
}

// GetAgentInfo describes the agent and its host.
func (a *agentService) GetAgentInfo(ctx context.Context, _ *pb.GetAgentInfoRequest) (*pb.GetAgentInfoResponse, error) {
	services, err := a.server.supervisor.List(ctx)
	if err != nil {
		return nil, err
	}
	i := a.server.info()
	info := &pb.AgentInfo{
		Host: text(i.Host), Version: i.Version, StateId: i.StateID, Platform: i.Platform, Kernel: text(i.Kernel),
		StartTime: timestamppb.New(i.Started), Pid: int32(i.PID), Degraded: texts(i.Degraded),
		StateDir: text(i.StateDir), RuntimeDir: text(i.RuntimeDir), Services: count(len(services)),
	}
	for _, c := range i.Capabilities {
		info.Capabilities = append(info.Capabilities, &pb.Capability{
			Name: c.Name, Available: c.Available, Detail: text(c.Detail), Fallback: text(c.Fallback),
		})
	}
	return &pb.GetAgentInfoResponse{Agent: info}, nil
}
