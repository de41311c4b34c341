package ctl

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

func newFreeze(s *session) *cobra.Command {
	return s.freezeCommand(&cobra.Command{
		Use:   "freeze -m WHY",
		Short: "Refuse all upgrades on hosts; rollbacks and aborts stay possible",
		Long: "Refuses all upgrades and rollouts on the agent's host, or on the chosen ones, until\n" +
			"gracectl unfreeze, also over restarts. What is in progress goes on; rollbacks and aborts\n" +
			"stay possible. Who is refused is told why.",
		Example: example("gracectl freeze -m 'holiday peak' --all", "gracectl freeze -m 'database moves' --hosts role=web"),
	}, func(ctx context.Context, c *client, reason, id string, dryRun bool) (done, error) {
		before, err := c.frozen(ctx)
		switch {
		case err != nil:
			return done{}, err
		case before != nil:
			return done{outcome: "unchanged", text: freezeText(before)}, nil
		case dryRun:
			return done{outcome: "would-change"}, nil
		}
		_, err = c.rollouts.FreezeHost(ctx, &pb.FreezeHostRequest{Reason: reason, RequestId: id})
		return done{outcome: "frozen"}, err
	})
}

func newUnfreeze(s *session) *cobra.Command {
	return s.freezeCommand(&cobra.Command{
		Use:     "unfreeze -m WHY",
		Short:   "Allow upgrades on hosts again",
		Example: example("gracectl unfreeze -m 'peak is over' --all"),
	}, func(ctx context.Context, c *client, reason, id string, dryRun bool) (done, error) {
		before, err := c.frozen(ctx)
		switch {
		case err != nil:
			return done{}, err
		case before == nil:
			return done{outcome: "unchanged"}, nil
		case dryRun:
			return done{outcome: "would-change", text: freezeText(before)}, nil
		}
		_, err = c.rollouts.UnfreezeHost(ctx, &pb.UnfreezeHostRequest{Reason: reason, RequestId: id})
		return done{outcome: "unfrozen", text: "was " + freezeText(before)}, err
	})
}

func (s *session) freezeCommand(cmd *cobra.Command, do func(ctx context.Context, c *client, reason, id string, dryRun bool) (done, error)) *cobra.Command {
	var m mutation
	m.flags(cmd)
	cmd.Args = cobra.NoArgs
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if m.reason == "" {
			return usage("say with -m why: it is told to whoever is refused meanwhile")
		}
		return nil
	}
	s.records(cmd)
	cmd.RunE = s.bounded(func(ctx context.Context, _ []string) error {
		hosts, err := s.chosenOrOne(ctx)
		if err != nil {
			return err
		}
		id := m.id()
		return s.each(ctx, hosts, func(ctx context.Context, _ inventory.Host, c *client) (done, error) {
			return do(ctx, c, m.reason, id, m.dryRun)
		})
	})
	return cmd
}

// frozen is the host's stop of all upgrades; nil when there is none.
func (c *client) frozen(ctx context.Context) (*pb.Freeze, error) {
	answer, err := c.rollouts.ListRollouts(ctx, &pb.ListRolloutsRequest{})
	return answer.GetFreeze(), err
}

func freezeText(f *pb.Freeze) string {
	return fmt.Sprintf("frozen by %s since %s: %s", visible(f.GetActor()), minute(f.GetCreateTime().AsTime()), visible(f.GetReason()))
}
