package ctl

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

func newStop(s *session) *cobra.Command {
	var m mutation
	var now bool
	var confirm string
	cmd := &cobra.Command{
		Use:   "stop SERVICE",
		Short: "Drain every generation and close the sockets",
		Long: "Drains every generation and closes the sockets. The service stays stopped after a\n" +
			"reboot. Ctrl-C detaches, the drain goes on. On several hosts --confirm must say the\n" +
			"service's name once more.",
		Example: example("gracectl stop web", "gracectl stop web --now",
			"gracectl stop web --hosts zone=b --confirm web   # on several hosts"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	cmd.Flags().BoolVar(&now, "now", false, "kill instead of draining")
	cmd.Flags().StringVar(&confirm, "confirm", "", "the service's name again, to stop it on several hosts")
	m.flags(cmd)
	request := func(service string) *pb.StopServiceRequest {
		return &pb.StopServiceRequest{Name: service, Now: now, ValidateOnly: m.dryRun, RequestId: m.id(), Reason: m.reason}
	}
	s.records(cmd)
	cmd.RunE = s.withEach(func(ctx context.Context, c *client, args []string) error {
		answer, err := c.services.StopService(ctx, request(args[0]))
		switch {
		case err != nil:
			return err
		case m.dryRun:
			return s.concludeDry(args[0], anyAlive(answer.GetStatus()), nil)
		}
		return s.followStop(ctx, c, args[0], answer.GetStatus())
	}, func(ctx context.Context, hosts []inventory.Host, args []string) error {
		if !m.dryRun {
			if err := confirmed("stop", args[0], confirm, hosts); err != nil {
				return err
			}
		}
		req := request(args[0])
		return s.each(ctx, hosts, func(ctx context.Context, _ inventory.Host, c *client) (done, error) {
			return s.stopOne(ctx, c, req)
		})
	})
	return cmd
}

// stopOne stops a service on one of many hosts, and waits for its drain.
func (s *session) stopOne(ctx context.Context, c *client, req *pb.StopServiceRequest) (done, error) {
	answer, err := c.services.StopService(ctx, req)
	switch running := anyAlive(answer.GetStatus()); {
	case err != nil:
		return done{}, err
	case req.GetValidateOnly() && running:
		return done{outcome: "would-change"}, nil
	case req.GetValidateOnly(), closed(answer.GetStatus()):
		return done{outcome: "unchanged"}, nil
	}
	last := answer.GetStatus()
	err = s.watch(ctx, c, req.GetName(), quiet{}, func(st *pb.ServiceStatus) (bool, error) {
		last = st
		return closed(st), nil
	})
	cut := forced(last)
	d := done{outcome: "stopped", more: object{{"forcedConnections", cut}}}
	if cut > 0 {
		d.text = count(cut, "connection") + " cut"
	}
	return d, err
}

// forced is how many connections the drains of a service have cut.
func forced(st *pb.ServiceStatus) int32 {
	n := int32(0)
	for _, g := range st.GetGenerations() {
		n += g.GetDrain().GetForcedConnections()
	}
	return n
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
	r.forced = forced(last)
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
