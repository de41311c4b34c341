package server

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// Permission is what a caller must have to use a method.
type Permission string

// The permissions.
const (
	PermRead     Permission = "read"
	PermLogs     Permission = "logs" // logs leak secrets
	PermPush     Permission = "push"
	PermUpgrade  Permission = "upgrade"
	PermRollback Permission = "rollback"
	PermStop     Permission = "stop"
	PermAdmin    Permission = "admin" // chooses user, command and environment
	PermNone     Permission = "none"  // for everyone who may connect
)

// permissions has a row for every method; what has none is denied. The keys are
// the exact paths, so that no spelling of a path slips through.
var permissions = map[string]Permission{
	pb.AgentService_GetAgentInfo_FullMethodName: PermRead,

	pb.ArtifactService_UploadArtifact_FullMethodName:  PermPush,
	pb.ArtifactService_GetUploadStatus_FullMethodName: PermPush,
	pb.ArtifactService_ListArtifacts_FullMethodName:   PermRead,
	pb.ArtifactService_DeleteArtifact_FullMethodName:  PermAdmin,

	pb.SupervisorService_ApplyService_FullMethodName:    PermAdmin,
	pb.SupervisorService_AdoptService_FullMethodName:    PermAdmin,
	pb.SupervisorService_GetService_FullMethodName:      PermRead,
	pb.SupervisorService_ListServices_FullMethodName:    PermRead,
	pb.SupervisorService_StopService_FullMethodName:     PermStop,
	pb.SupervisorService_StartService_FullMethodName:    PermStop,
	pb.SupervisorService_ReloadService_FullMethodName:   PermUpgrade,
	pb.SupervisorService_DeleteService_FullMethodName:   PermAdmin,
	pb.SupervisorService_ListGenerations_FullMethodName: PermRead,
	pb.SupervisorService_WatchEvents_FullMethodName:     PermRead,
	pb.SupervisorService_WatchService_FullMethodName:    PermRead,
	pb.SupervisorService_ReadLogs_FullMethodName:        PermLogs,

	// A request with a specification asks for PermAdmin as well.
	pb.UpgradeService_StartUpgrade_FullMethodName:    PermUpgrade,
	pb.UpgradeService_GetUpgrade_FullMethodName:      PermRead,
	pb.UpgradeService_ListUpgrades_FullMethodName:    PermRead,
	pb.UpgradeService_PromoteUpgrade_FullMethodName:  PermUpgrade,
	pb.UpgradeService_AbortUpgrade_FullMethodName:    PermRollback,
	pb.UpgradeService_RollbackService_FullMethodName: PermRollback,

	healthpb.Health_Check_FullMethodName: PermNone,
	healthpb.Health_List_FullMethodName:  PermNone,
	healthpb.Health_Watch_FullMethodName: PermNone,
}

// authorise denies a method without a row, and a caller without a permission.
func authorise(ctx context.Context, method string) error {
	want, listed := permissions[method]
	if !listed {
		return denied("method %s is not for callers", method)
	}
	return require(ctx, want)
}

// require fails unless the caller has a permission. Whoever the socket let in
// has all of them.
func require(ctx context.Context, want Permission) error {
	if _, known := peerOf(ctx); known || want == PermNone {
		return nil
	}
	return denied("permission %s is missing: the caller is not known", want)
}

func denied(format string, args ...any) error {
	return &api.Error{Code: codes.PermissionDenied, Reason: pb.Reason_REASON_PERMISSION, Message: fmt.Sprintf(format, args...)}
}
