package server

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// about says which services a request is about.
type about uint8

const (
	none       about = iota // none: whoever has the permission somewhere has it
	named                   // the one that it names
	nameable                // the one that it names, or those of all that the caller may read
	namedOrAll              // the one that it names, or all of them
	all                     // all of them
)

// rule is what a method asks of its caller.
type rule struct {
	may     access.Permission
	about   about
	mutates bool
}

// What a method does. What changes something is recorded before, and bounded in number;
// see record and accounts.
const (
	reads   = false
	changes = true
)

// rules has a row for every method; what has none is denied. The keys are the
// exact paths, so that no spelling of a path slips through.
var rules = map[string]rule{
	pb.AgentService_GetAgentInfo_FullMethodName:    {access.Read, none, reads},
	pb.AgentService_GetCaller_FullMethodName:       {access.None, none, reads},
	pb.AgentService_CheckPermission_FullMethodName: {access.None, none, reads},

	pb.AuditService_ReadAudit_FullMethodName: {access.Read, namedOrAll, reads},

	pb.ArtifactService_UploadArtifact_FullMethodName:  {access.Push, none, changes},
	pb.ArtifactService_FetchArtifact_FullMethodName:   {access.Push, none, changes},
	pb.ArtifactService_GrantArtifact_FullMethodName:   {access.Push, none, changes},
	pb.ArtifactService_GetUploadStatus_FullMethodName: {access.Push, none, reads},
	pb.ArtifactService_ListArtifacts_FullMethodName:   {access.Read, all, reads},
	pb.ArtifactService_DeleteArtifact_FullMethodName:  {access.Admin, all, changes},

	pb.SupervisorService_ApplyService_FullMethodName:    {access.Admin, named, changes},
	pb.SupervisorService_AdoptService_FullMethodName:    {access.Admin, named, changes},
	pb.SupervisorService_GetService_FullMethodName:      {access.Read, named, reads},
	pb.SupervisorService_ListServices_FullMethodName:    {access.Read, nameable, reads},
	pb.SupervisorService_StopService_FullMethodName:     {access.Stop, named, changes},
	pb.SupervisorService_StartService_FullMethodName:    {access.Stop, named, changes},
	pb.SupervisorService_ReloadService_FullMethodName:   {access.Upgrade, named, changes},
	pb.SupervisorService_DeleteService_FullMethodName:   {access.Admin, named, changes},
	pb.SupervisorService_ListGenerations_FullMethodName: {access.Read, named, reads},
	pb.SupervisorService_WatchEvents_FullMethodName:     {access.Read, nameable, reads},
	pb.SupervisorService_WatchService_FullMethodName:    {access.Read, nameable, reads},
	pb.SupervisorService_ReadLogs_FullMethodName:        {access.Logs, named, reads},

	// See demands.
	pb.UpgradeService_StartUpgrade_FullMethodName:    {access.Upgrade, named, changes},
	pb.UpgradeService_GetUpgrade_FullMethodName:      {access.Read, named, reads},
	pb.UpgradeService_ListUpgrades_FullMethodName:    {access.Read, named, reads},
	pb.UpgradeService_PromoteUpgrade_FullMethodName:  {access.Upgrade, named, changes},
	pb.UpgradeService_AbortUpgrade_FullMethodName:    {access.Rollback, named, changes},
	pb.UpgradeService_RollbackService_FullMethodName: {access.Rollback, named, changes},

	// A renewal changes nothing that is written down, and comes every few seconds.
	pb.RolloutService_ClaimRollout_FullMethodName:   {access.Upgrade, named, changes},
	pb.RolloutService_RenewRollout_FullMethodName:   {access.Upgrade, named, reads},
	pb.RolloutService_AdvanceRollout_FullMethodName: {access.Upgrade, named, changes},
	pb.RolloutService_WatchRollout_FullMethodName:   {access.Read, named, reads},
	pb.RolloutService_ControlRollout_FullMethodName: {access.Upgrade, named, changes},
	pb.RolloutService_ReleaseRollout_FullMethodName: {access.Upgrade, named, changes},
	pb.RolloutService_GetRollout_FullMethodName:     {access.Read, named, reads},
	pb.RolloutService_ListRollouts_FullMethodName:   {access.Read, nameable, reads},
	pb.RolloutService_FreezeHost_FullMethodName:     {access.Stop, all, changes},
	pb.RolloutService_UnfreezeHost_FullMethodName:   {access.Stop, all, changes},

	healthpb.Health_Check_FullMethodName: {access.None, none, reads},
	healthpb.Health_List_FullMethodName:  {access.None, none, reads},
	healthpb.Health_Watch_FullMethodName: {access.None, none, reads},
}

// enter denies a method without a row, a caller that nobody has identified, and one
// who has the permission nowhere. What the request is about is not known yet.
func (s *Server) enter(ctx context.Context, method string) error {
	r, listed := rules[method]
	if !listed {
		return denied("method %s is not for callers", method)
	}
	c, known := callerOf(ctx)
	switch {
	case !known:
		return denied("the caller is not known")
	case r.may == access.None || s.grants(c).AllowSomewhere(r.may):
		return nil
	}
	return s.lacks(c, r.may, "any service")
}

// authorise denies a request about a service for which its caller has no
// permission.
func (s *Server) authorise(ctx context.Context, method string, request any) error {
	if err := s.enter(ctx, method); err != nil {
		return err
	}
	r := rules[method]
	name := serviceOf(request)
	switch {
	case r.may == access.None, r.about == none, r.about == nameable && name == "":
		return nil
	case r.about == all, r.about == namedOrAll && name == "":
		return s.requireAll(ctx, r.may)
	}
	return s.require(ctx, demands(r.may, request), name)
}

// demands is the permission that a request asks for: one that chooses the program,
// with a specification or a path on the host, or an old release, by breaking the
// glass, asks for Admin.
func demands(may access.Permission, request any) access.Permission {
	switch r := request.(type) {
	case *pb.StartUpgradeRequest:
		if r.GetBreakGlass() || choosesProgram(r) {
			return access.Admin
		}
	case *pb.ClaimRolloutRequest:
		if choosesProgram(r.GetChange()) {
			return access.Admin
		}
	}
	return may
}

// choosesProgram says whether what is to run was not pushed and declared before.
func choosesProgram(change interface {
	GetSpec() *pb.ServiceSpec
	GetArtifact() string
},
) bool {
	return change.GetSpec() != nil || strings.HasPrefix(change.GetArtifact(), service.HostArtifact)
}

// serviceOf is the service that a request names.
func serviceOf(request any) string {
	switch r := request.(type) {
	case interface{ GetService() string }:
		return r.GetService()
	case interface{ GetName() string }:
		return r.GetName()
	case interface{ GetDriver() *pb.RolloutDriver }:
		return r.GetDriver().GetService()
	}
	return ""
}

func (s *Server) require(ctx context.Context, may access.Permission, service string) error {
	c, _ := callerOf(ctx)
	if s.grants(c).Allow(may, service) {
		return nil
	}
	return s.lacks(c, may, fmt.Sprintf("service %q", service))
}

func (s *Server) requireAll(ctx context.Context, may access.Permission) error {
	c, _ := callerOf(ctx)
	if s.grants(c).AllowEverywhere(may) {
		return nil
	}
	return s.lacks(c, may, "every service")
}

// mayRead says whether a caller may know of a service; what has no service is the
// host's.
func (s *Server) mayRead(ctx context.Context, service string) bool {
	c, _ := callerOf(ctx)
	return service == "" || s.grants(c).Allow(access.Read, service)
}

func (s *Server) lacks(c Caller, may access.Permission, on string) error {
	return denied("%s lacks the permission %s on %s: it has %s", c.Name, may, on, s.grants(c))
}

func denied(format string, args ...any) error {
	return &api.Error{Code: codes.PermissionDenied, Reason: pb.Reason_REASON_PERMISSION, Message: fmt.Sprintf(format, args...)}
}
