package ctl

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

func newReload(s *session) *cobra.Command {
	var m mutation
	cmd := &cobra.Command{
		Use:               "reload SERVICE",
		Short:             "Send the reload signal to the active generation",
		Long:              "Sends the reload signal to the active generation. The process stays the same.",
		Example:           example("gracectl reload web", "gracectl reload web --hosts role=web"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	m.flags(cmd)
	request := func(service string) *pb.ReloadServiceRequest {
		return &pb.ReloadServiceRequest{Name: service, ValidateOnly: m.dryRun, RequestId: m.id(), Reason: m.reason}
	}
	cmd.RunE = s.withEach(func(ctx context.Context, c *client, args []string) error {
		answer, err := c.services.ReloadService(ctx, request(args[0]))
		if err != nil {
			return err
		}
		return errors.Join(s.reloaded(args[0], answer, m.dryRun), wouldChange(m.dryRun))
	}, func(ctx context.Context, hosts []inventory.Host, args []string) error {
		req := request(args[0])
		return s.each(ctx, hosts, func(ctx context.Context, _ inventory.Host, c *client) (done, error) {
			answer, err := c.services.ReloadService(ctx, req)
			if err != nil {
				return done{}, err
			}
			return reloadedOne(answer, m.dryRun), nil
		})
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

// reloadedOne is what came of it on one of many hosts.
func reloadedOne(answer *pb.ReloadServiceResponse, dryRun bool) done {
	d := done{outcome: "reloaded", more: object{{"generation", answer.GetStatus().GetService().GetActiveGeneration()}, {"confirmed", answer.GetConfirmed()}}}
	switch {
	case dryRun:
		d.outcome = "would-change"
	case !answer.GetConfirmed():
		d.text = "the program does not say when it is done"
	}
	return d
}
