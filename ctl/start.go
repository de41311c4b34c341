package ctl

import (
	"context"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newStart(s *session) *cobra.Command {
	var m mutation
	var wait string
	cmd := &cobra.Command{
		Use:               "start SERVICE",
		Short:             "Start a stopped service in its last promoted generation",
		Example:           example("gracectl start web"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	waitFlag(cmd, &wait)
	m.flags(cmd)
	cmd.PreRunE = func(*cobra.Command, []string) error { return checkWait(wait) }
	s.withRecords(cmd, func(ctx context.Context, c *client, args []string) error {
		before, err := c.services.GetService(ctx, &pb.GetServiceRequest{Name: args[0]})
		if err != nil {
			return err
		}
		answer, err := c.services.StartService(ctx, &pb.StartServiceRequest{
			Name: args[0], ValidateOnly: m.dryRun, RequestId: m.id(), Reason: m.reason,
		})
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
	})
	return cmd
}
