package ctl

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newReload(s *session) *cobra.Command {
	var m mutation
	cmd := &cobra.Command{
		Use:               "reload SERVICE",
		Short:             "Send the reload signal to the active generation",
		Long:              "Sends the reload signal to the active generation. The process stays the same.",
		Example:           example("gracectl reload web"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	m.flags(cmd)
	cmd.RunE = s.withAgent(func(ctx context.Context, c *client, args []string) error {
		answer, err := c.services.ReloadService(ctx, &pb.ReloadServiceRequest{
			Name: args[0], ValidateOnly: m.dryRun, RequestId: m.id(), Reason: m.reason,
		})
		if err != nil {
			return err
		}
		return errors.Join(s.reloaded(args[0], answer, m.dryRun), wouldChange(m.dryRun))
	})
	return cmd
}

func (s *session) reloaded(service string, answer *pb.ReloadServiceResponse, dryRun bool) error {
	active := answer.GetStatus().GetService().GetActiveGeneration()
	switch {
	case s.structured():
		return s.print(message(answer))
	case dryRun:
		s.say("%s: would reload generation %d", service, active)
	case answer.GetConfirmed():
		s.say("%s: generation %d reloaded", service, active)
	default:
		s.say("%s: generation %d was sent the reload signal; it does not say when it is done", service, active)
	}
	return nil
}
