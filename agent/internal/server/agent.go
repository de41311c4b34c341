package server

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gracefleet/gracefleet/agent/internal/access"
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
		Network: agentNetwork(i.Network), Freeze: toFreeze(a.server.supervisor.Frozen()),
	}
	for _, c := range i.Capabilities {
		info.Capabilities = append(info.Capabilities, &pb.Capability{
			Name: c.Name, Available: c.Available, Detail: text(c.Detail), Fallback: text(c.Fallback),
		})
	}
	return &pb.GetAgentInfoResponse{Agent: info}, nil
}

func agentNetwork(n *NetworkInfo) *pb.AgentNetwork {
	if n == nil {
		return nil
	}
	return &pb.AgentNetwork{
		Address: text(n.Address), Identity: text(n.Identity), Serial: n.Serial, Issuer: text(n.Issuer),
		NotBefore: newTimestamp(n.NotBefore), NotAfter: newTimestamp(n.NotAfter), CaNotAfter: newTimestamp(n.CANotAfter), CrlNextUpdate: newTimestamp(n.CRLNextUpdate),
		Renew: text(n.Renew), RenewContactTime: newTimestamp(n.RenewContact), RenewError: text(n.RenewError),
	}
}

// GetCaller says who the caller is taken for.
func (a *agentService) GetCaller(ctx context.Context, _ *pb.GetCallerRequest) (*pb.GetCallerResponse, error) {
	c, _ := callerOf(ctx)
	answer := &pb.GetCallerResponse{Actor: text(c.Name), From: text(c.From), Roles: c.roles(a.server.Policy(), a.server.owner)}
	for _, g := range a.server.grants(c) {
		grant := &pb.Grant{Services: g.Services}
		for _, may := range g.May {
			grant.Permissions = append(grant.Permissions, string(may))
		}
		answer.Grants = append(answer.Grants, grant)
	}
	return answer, nil
}

// CheckPermission says whether the caller has a permission.
func (a *agentService) CheckPermission(ctx context.Context, r *pb.CheckPermissionRequest) (*pb.CheckPermissionResponse, error) {
	may := access.Permission(r.GetPermission())
	c := &checker{}
	c.that(slices.Contains(access.Permissions(), may), "permission", fmt.Sprintf("is none of %v", access.Permissions()))
	if r.GetService() != "" {
		c.name("service", r.GetService())
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	who, _ := callerOf(ctx)
	grants := a.server.grants(who)
	allowed := grants.AllowEverywhere(may)
	if r.GetService() != "" {
		allowed = grants.Allow(may, r.GetService())
	}
	return &pb.CheckPermissionResponse{Allowed: allowed}, nil
}
