package ctl

import (
	"context"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

func newStart(s *session) *cobra.Command {
	var m mutation
	var wait string
	cmd := &cobra.Command{
		Use:               "start SERVICE",
		Short:             "Start a stopped service in its last promoted generation",
		Example:           example("gracectl start web", "gracectl start web --hosts role=web"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	waitFlag(cmd, &wait)
	m.flags(cmd)
	cmd.PreRunE = func(*cobra.Command, []string) error { return checkWait(wait) }
	request := func(service string) *pb.StartServiceRequest {
		return &pb.StartServiceRequest{Name: service, ValidateOnly: m.dryRun, RequestId: m.id(), Reason: m.reason}
	}
	s.records(cmd)
	cmd.RunE = s.withEach(func(ctx context.Context, c *client, args []string) error {
		up, changes, err := c.start(ctx, request(args[0]))
		switch {
		case err != nil:
			return err
		case m.dryRun:
			return s.concludeDry(args[0], changes, nil)
		case !changes:
			return s.conclude(unchanged(args[0], up))
		}
		return s.follow(ctx, c, up, wait, false)
	}, func(ctx context.Context, hosts []inventory.Host, args []string) error {
		req := request(args[0])
		return s.each(ctx, hosts, func(ctx context.Context, _ inventory.Host, c *client) (done, error) {
			return s.startOne(ctx, c, req, wait)
		})
	})
	return cmd
}

// start asks an agent to start a service. It would change nothing, or changed nothing,
// where the service runs.
func (c *client) start(ctx context.Context, req *pb.StartServiceRequest) (up *pb.Upgrade, changes bool, err error) {
	before, err := c.services.GetService(ctx, &pb.GetServiceRequest{Name: req.GetName()})
	if err != nil {
		return nil, false, err
	}
	answer, err := c.services.StartService(ctx, req)
	up = answer.GetStatus().GetUpgrade()
	if req.GetValidateOnly() {
		return up, before.GetStatus().GetService().GetState() != pb.Service_STATE_RUNNING, err
	}
	return up, up.GetId() != before.GetStatus().GetUpgrade().GetId(), err
}

// startOne starts a service on one of many hosts.
func (s *session) startOne(ctx context.Context, c *client, req *pb.StartServiceRequest, wait string) (done, error) {
	up, changes, err := c.start(ctx, req)
	switch {
	case err != nil:
		return done{}, err
	case !changes:
		return done{outcome: "unchanged"}, nil
	case req.GetValidateOnly():
		return done{outcome: "would-change"}, nil
	}
	return s.followOne(ctx, c, up, wait, "started")
}
