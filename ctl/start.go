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
		before, err := c.services.GetService(ctx, &pb.GetServiceRequest{Name: args[0]})
		if err != nil {
			return err
		}
		answer, err := c.services.StartService(ctx, request(args[0]))
		runs := before.GetStatus().GetService().GetState() == pb.Service_STATE_RUNNING
		up := answer.GetStatus().GetUpgrade()
		switch {
		case err != nil:
			return err
		case m.dryRun:
			return s.concludeDry(args[0], !runs, nil)
		case up.GetId() == before.GetStatus().GetUpgrade().GetId():
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

// startOne starts a service on one of many hosts.
func (s *session) startOne(ctx context.Context, c *client, req *pb.StartServiceRequest, wait string) (done, error) {
	before, err := c.services.GetService(ctx, &pb.GetServiceRequest{Name: req.GetName()})
	if err != nil {
		return done{}, err
	}
	answer, err := c.services.StartService(ctx, req)
	up := answer.GetStatus().GetUpgrade()
	switch runs := before.GetStatus().GetService().GetState() == pb.Service_STATE_RUNNING; {
	case err != nil:
		return done{}, err
	case req.GetValidateOnly() && !runs:
		return done{outcome: "would-change"}, nil
	case req.GetValidateOnly(), up.GetId() == before.GetStatus().GetUpgrade().GetId():
		return done{outcome: "unchanged"}, nil
	}
	return s.followOne(ctx, c, up, wait, "started")
}
