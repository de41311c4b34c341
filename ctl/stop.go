package ctl

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newStop(s *session) *cobra.Command {
	var m mutation
	var now bool
	cmd := &cobra.Command{
		Use:   "stop SERVICE",
		Short: "Drain every generation and close the sockets",
		Long: "Drains every generation and closes the sockets. The service stays stopped after a\n" +
			"reboot. Ctrl-C detaches, the drain goes on.",
		Example:           example("gracectl stop web", "gracectl stop web --now"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	cmd.Flags().BoolVar(&now, "now", false, "kill instead of draining")
	m.flags(cmd)
	s.withRecords(cmd, func(ctx context.Context, c *client, args []string) error {
		answer, err := c.services.StopService(ctx, &pb.StopServiceRequest{
			Name: args[0], Now: now, ValidateOnly: m.dryRun, RequestId: m.id(), Reason: m.reason,
		})
		switch {
		case err != nil:
			return err
		case m.dryRun:
			return s.concludeDry(args[0], anyAlive(answer.GetStatus()), nil)
		}
		return s.followStop(ctx, c, args[0], answer.GetStatus())
	})
	return cmd
}

func anyAlive(st *pb.ServiceStatus) bool {
	for _, g := range st.GetGenerations() {
		if alive(g) {
			return true
		}
	}
	return false
}

// closed says whether nothing runs any more and no socket is open.
func closed(st *pb.ServiceStatus) bool {
	for _, g := range st.GetGenerations() {
		if alive(g) || g.GetSlot() != 0 {
			return false
		}
	}
	return true
}

// followStop shows a drain until nothing is left of it.
func (s *session) followStop(ctx context.Context, c *client, service string, last *pb.ServiceStatus) error {
	r := result{service: service}
	err := s.watch(ctx, c, service, s.progress(), func(st *pb.ServiceStatus) (bool, error) {
		last = st
		return closed(st), nil
	})
	for _, g := range last.GetGenerations() {
		r.forced += g.GetDrain().GetForcedConnections()
	}
	switch {
	case err == nil:
		r.outcome, r.host, r.text = "succeeded", "stopped", service+": stopped"
		if r.forced > 0 {
			r.text += fmt.Sprintf(", %s cut", count(r.forced, "connection"))
		}
	case ctx.Err() != nil:
		r.code, r.outcome, r.host = ExitDetached, "detached", "in-progress"
		r.text = service + ": still draining, which goes on without this command"
		r.details = []string{"next: gracectl status " + service + " -w", "      gracectl stop " + service + " --now"}
	default:
		return err
	}
	return s.conclude(r)
}
