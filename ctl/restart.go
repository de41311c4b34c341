package ctl

import (
	"context"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

func newRestart(s *session) *cobra.Command {
	var m mutation
	var wait string
	var r rolloutFlags
	cmd := &cobra.Command{
		Use:   "restart SERVICE",
		Short: "Replace the program by a fresh start of the same, without losing a request",
		Long: "An upgrade with nothing changed: the same artifact and specification in a new generation.\n" +
			"On several hosts it is a rollout: see gracectl explain rollouts.",
		Example:           example("gracectl restart web", "gracectl restart web --hosts role=web --waves 10%,50%,100%"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	waitFlag(cmd, &wait)
	r.flags(cmd)
	m.flags(cmd)
	cmd.PreRunE = func(*cobra.Command, []string) error { return checkWait(wait) }
	s.records(cmd)
	cmd.RunE = s.withRollout(&r, func(ctx context.Context, c *client, args []string) error {
		answer, err := c.upgrades.StartUpgrade(ctx, &pb.StartUpgradeRequest{
			Service: args[0], Restart: true, RequestId: m.id(), Reason: m.reason, ValidateOnly: m.dryRun,
		})
		if err != nil {
			return err
		}
		return s.begin(ctx, c, args[0], answer, m.dryRun, wait)
	}, func(ctx context.Context, hosts []inventory.Host, args []string) error {
		o := order{service: args[0], action: rollout.ActionRestart, release: same(rollout.Release{})}
		return s.rollOut(ctx, o, hosts, &r, &m, wait)
	})
	return cmd
}
