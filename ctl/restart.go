package ctl

import (
	"context"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newRestart(s *session) *cobra.Command {
	var m mutation
	var wait string
	cmd := &cobra.Command{
		Use:               "restart SERVICE",
		Short:             "Replace the program by a fresh start of the same, without losing a request",
		Long:              "An upgrade with nothing changed: the same artifact and specification in a new generation.",
		Example:           example("gracectl restart web"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	waitFlag(cmd, &wait)
	m.flags(cmd)
	cmd.PreRunE = func(*cobra.Command, []string) error { return checkWait(wait) }
	s.withRecords(cmd, func(ctx context.Context, c *client, args []string) error {
		answer, err := c.upgrades.StartUpgrade(ctx, &pb.StartUpgradeRequest{
			Service: args[0], Restart: true, RequestId: m.id(), Reason: m.reason, ValidateOnly: m.dryRun,
		})
		if err != nil {
			return err
		}
		return s.begin(ctx, c, args[0], answer, m.dryRun, wait)
	})
	return cmd
}
