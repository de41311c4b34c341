package server

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// upgradeService is the contract's UpgradeService.
type upgradeService struct {
	pb.UnimplementedUpgradeServiceServer
	server     *Server
	supervisor Supervisor
}

// StartUpgrade starts an upgrade.
func (u *upgradeService) StartUpgrade(ctx context.Context, r *pb.StartUpgradeRequest) (*pb.StartUpgradeResponse, error) {
	request, err := startRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	result, err := u.supervisor.Upgrade(ctx, request)
	if err != nil {
		return nil, err
	}
	return &pb.StartUpgradeResponse{
		Upgrade: toUpgrade(&result.Upgrade), Unchanged: result.Unchanged, Attached: result.Attached,
		Changes: toChanges(result.Changes),
	}, nil
}

func startRequest(ctx context.Context, r *pb.StartUpgradeRequest) (supervisor.UpgradeRequest, error) {
	c := &checker{}
	c.name("service", r.GetService())
	if r.GetArtifact() != "" {
		c.failed("artifact", service.CheckArtifact(r.GetArtifact()))
	}
	c.that(!r.GetRestart() || (r.GetArtifact() == "" && r.GetSpec() == nil), "restart", "runs what runs: neither artifact nor spec go with it")
	c.that(!r.GetNoSteps() || len(r.GetSteps()) == 0, "no_steps", "steps are given")
	c.that(r.GetExpectedGeneration() >= 0, "expected_generation", "is negative")
	c.failed("steps", service.CheckSteps(fromSteps(r.GetSteps())))
	request := supervisor.UpgradeRequest{
		Caller: c.caller(ctx, r.GetRequestId(), r.GetReason()), Signing: c.signing(r),
		Service: r.GetService(), Artifact: r.GetArtifact(), Restart: r.GetRestart(),
		Steps: toLifecycleSteps(r.GetSteps()), NoSteps: r.GetNoSteps(),
		Hold: c.override("hold", r.GetHold()), Soak: c.override("soak", r.GetSoak()),
		DryRun: r.GetValidateOnly(), Expected: int(r.GetExpectedGeneration()),
		ForceOldest: r.GetForceOldest(), Force: r.GetForce(),
	}
	if r.GetSpec() != nil {
		spec := c.spec(r.GetService(), withArtifact(r.GetSpec(), r.GetArtifact()))
		request.Spec = &spec
	}
	return request, c.err()
}

// withArtifact records the artifact of the request with a specification that
// names none.
func withArtifact(spec *pb.ServiceSpec, artifact string) *pb.ServiceSpec {
	if spec.GetArtifact() != "" || artifact == "" {
		return spec
	}
	copied := proto.CloneOf(spec)
	copied.Artifact = artifact
	return copied
}

// override is a duration that replaces the specification's for one upgrade.
func (c *checker) override(field string, d *durationpb.Duration) *time.Duration {
	given, ok := c.duration(field, d)
	if !ok {
		return nil
	}
	c.that(given >= 0 && given <= 30*24*time.Hour, field, "is not from 0 to 30 days")
	return &given
}

// GetUpgrade returns one upgrade, the last when no id is given.
func (u *upgradeService) GetUpgrade(ctx context.Context, r *pb.GetUpgradeRequest) (*pb.GetUpgradeResponse, error) {
	c := &checker{}
	c.name("service", r.GetService())
	c.text("id", r.GetId(), maxText)
	if err := c.err(); err != nil {
		return nil, err
	}
	list, err := u.supervisor.Upgrades(ctx, r.GetService())
	if err != nil {
		return nil, err
	}
	for _, up := range list {
		if r.GetId() == "" || up.ID == r.GetId() {
			return &pb.GetUpgradeResponse{Upgrade: toUpgrade(&up)}, nil
		}
	}
	return nil, fmt.Errorf("service %s, upgrade %q: %w", r.GetService(), r.GetId(), supervisor.ErrUpgradeNotFound)
}

// ListUpgrades returns a page of a service's upgrades, newest first.
func (u *upgradeService) ListUpgrades(ctx context.Context, r *pb.ListUpgradesRequest) (*pb.ListUpgradesResponse, error) {
	if err := checkName("service", r.GetService()); err != nil {
		return nil, err
	}
	list, err := u.supervisor.Upgrades(ctx, r.GetService())
	if err != nil {
		return nil, err
	}
	var all []item[*pb.Upgrade]
	for _, up := range list {
		all = append(all, item[*pb.Upgrade]{timeKey(up.CreatedAt, up.ID), toUpgrade(&up)})
	}
	upgrades, next, err := page(all, true, r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &pb.ListUpgradesResponse{Upgrades: upgrades, NextPageToken: next}, nil
}

// timeKey orders by time, then by name.
func timeKey(t time.Time, name string) string {
	return t.UTC().Format("20060102T150405.000000000") + name
}

// upgradeCommand reads what promote and abort have in common.
func upgradeCommand(ctx context.Context, r interface {
	GetService() string
	GetId() string
	GetValidateOnly() bool
	GetRequestId() string
	GetReason() string
},
) (supervisor.UpgradeCommand, error) {
	c := &checker{}
	c.name("service", r.GetService())
	c.text("id", r.GetId(), maxText)
	cmd := supervisor.UpgradeCommand{
		Caller:  c.caller(ctx, r.GetRequestId(), r.GetReason()),
		Service: r.GetService(), ID: r.GetId(), DryRun: r.GetValidateOnly(),
	}
	return cmd, c.err()
}

// PromoteUpgrade ends canary and soak, or goes on to the next step.
func (u *upgradeService) PromoteUpgrade(ctx context.Context, r *pb.PromoteUpgradeRequest) (*pb.PromoteUpgradeResponse, error) {
	cmd, err := upgradeCommand(ctx, r)
	if err != nil {
		return nil, err
	}
	cmd.Step = r.GetStep()
	up, err := u.supervisor.Promote(ctx, cmd)
	if err != nil {
		return nil, err
	}
	return &pb.PromoteUpgradeResponse{Upgrade: toUpgrade(&up)}, nil
}

// AbortUpgrade gives every new connection back to the old generation.
func (u *upgradeService) AbortUpgrade(ctx context.Context, r *pb.AbortUpgradeRequest) (*pb.AbortUpgradeResponse, error) {
	cmd, err := upgradeCommand(ctx, r)
	if err != nil {
		return nil, err
	}
	up, err := u.supervisor.Abort(ctx, cmd)
	if err != nil {
		return nil, err
	}
	return &pb.AbortUpgradeResponse{Upgrade: toUpgrade(&up)}, nil
}

// RollbackService returns to an earlier good generation.
func (u *upgradeService) RollbackService(ctx context.Context, r *pb.RollbackServiceRequest) (*pb.RollbackServiceResponse, error) {
	request, err := rollbackRequest(ctx, r)
	if err != nil {
		return nil, err
	}
	result, err := u.supervisor.Rollback(ctx, request)
	if err != nil {
		return nil, err
	}
	return &pb.RollbackServiceResponse{
		Upgrade: toUpgrade(&result.Upgrade), Aborted: result.Aborted, Unchanged: result.Unchanged,
		Changes: toChanges(result.Changes),
	}, nil
}

func rollbackRequest(ctx context.Context, r *pb.RollbackServiceRequest) (supervisor.RollbackRequest, error) {
	c := &checker{}
	c.name("service", r.GetService())
	request := supervisor.RollbackRequest{
		Caller:  c.caller(ctx, r.GetRequestId(), r.GetReason()),
		Service: r.GetService(), DryRun: r.GetValidateOnly(),
	}
	// A target that is there but zero must not turn into "the previous one".
	switch t := r.GetTarget().(type) {
	case *pb.RollbackServiceRequest_Generation:
		request.Generation = int(t.Generation)
		c.that(t.Generation > 0, "generation", "must be more than 0")
	case *pb.RollbackServiceRequest_Back:
		request.Back = int(t.Back)
		c.that(t.Back > 0, "back", "must be more than 0")
	case *pb.RollbackServiceRequest_Artifact:
		request.Artifact = t.Artifact
		c.failed("artifact", service.CheckArtifact(t.Artifact))
	case *pb.RollbackServiceRequest_Version:
		request.Version = t.Version
		c.that(t.Version != "", "version", "is empty")
		c.text("version", t.Version, maxText)
	}
	return request, c.err()
}
