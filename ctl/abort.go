package ctl

import (
	"context"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newAbort(s *session) *cobra.Command {
	var m mutation
	cmd := &cobra.Command{
		Use:   "abort SERVICE",
		Short: "Give every new connection back to the old generation",
		Long: "Ends an upgrade that is not promoted yet: the old generation, which never stopped,\n" +
			"takes every new connection at once.",
		Example:           example("gracectl abort web -m 'too many 500s'"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	m.flags(cmd)
	s.withRecords(cmd, func(ctx context.Context, c *client, args []string) error {
		answer, err := c.upgrades.AbortUpgrade(ctx, &pb.AbortUpgradeRequest{
			Service: args[0], ValidateOnly: m.dryRun, RequestId: m.id(), Reason: m.reason,
		})
		switch {
		case err != nil:
			return err
		case m.dryRun:
			return s.concludeDry(args[0], true, nil)
		}
		return s.follow(ctx, c, answer.GetUpgrade(), "promoted", true)
	})
	return cmd
}
