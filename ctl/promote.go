package ctl

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newPromote(s *session) *cobra.Command {
	var m mutation
	var step bool
	var wait string
	cmd := &cobra.Command{
		Use:   "promote SERVICE",
		Short: "End the canary and the soak of an upgrade",
		Long: "Gives every new connection to the new generation and lets the old one drain. With\n" +
			"--step it goes on to the next canary step only.",
		Example:           example("gracectl promote web", "gracectl promote web --step"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	cmd.Flags().BoolVar(&step, "step", false, "go on to the next canary step only")
	waitFlag(cmd, &wait)
	m.flags(cmd)
	cmd.PreRunE = func(*cobra.Command, []string) error { return checkWait(wait) }
	s.withRecords(cmd, func(ctx context.Context, c *client, args []string) error {
		answer, err := c.upgrades.PromoteUpgrade(ctx, &pb.PromoteUpgradeRequest{
			Service: args[0], Step: step, ValidateOnly: m.dryRun, RequestId: m.id(), Reason: m.reason,
		})
		switch {
		case err != nil:
			return err
		case m.dryRun:
			return s.concludeDry(args[0], true, nil)
		case step && inProgress(answer.GetUpgrade()):
			return s.conclude(stepped(answer.GetUpgrade()))
		}
		return s.follow(ctx, c, answer.GetUpgrade(), wait, false)
	})
	return cmd
}

// stepped is the result of going on by one step.
func stepped(up *pb.Upgrade) result {
	text := fmt.Sprintf("%s: step %s", up.GetService(), stepText(up))
	if up.GetState() == pb.Upgrade_STATE_SOAKING {
		text = fmt.Sprintf("%s: generation %d takes every new connection, soaking", up.GetService(), up.GetToGeneration())
	}
	return result{outcome: "stepped", host: "in-progress", service: up.GetService(), upgrade: up, text: text}
}
