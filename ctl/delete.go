package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

func newDelete(s *session) *cobra.Command {
	var m mutation
	var keep bool
	var confirm string
	cmd := &cobra.Command{
		Use:   "delete SERVICE",
		Short: "Forget a stopped service, its history and its logs",
		Long: "Forgets a stopped service, its history and its logs. On several hosts --confirm must say\n" +
			"the service's name once more.",
		Example: example("gracectl stop web && gracectl delete web", "gracectl delete web -y",
			"gracectl delete web --hosts zone=b --confirm web   # on several hosts",
			"gracectl delete web --keep-running   # give an adopted program back"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	cmd.Flags().BoolVar(&keep, "keep-running", false, "leave an adopted program running, as if it never had been adopted")
	cmd.Flags().StringVar(&confirm, "confirm", "", "the service's name again, to delete it on several hosts")
	m.flags(cmd)
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if m.dryRun {
			return nil
		}
		many, err := s.several(cmd.Context())
		switch {
		case err != nil:
			return err
		case many:
			return confirmed("delete", args[0], confirm, s.chosen)
		}
		return s.confirm(cmd.Context(), "delete "+args[0]+", its history and its logs?")
	}
	request := func(service string) *pb.DeleteServiceRequest {
		return &pb.DeleteServiceRequest{Name: service, ValidateOnly: m.dryRun, RequestId: m.id(), Reason: m.reason, KeepRunning: keep}
	}
	cmd.RunE = s.withEach(func(ctx context.Context, c *client, args []string) error {
		if _, err := c.services.DeleteService(ctx, request(args[0])); err != nil {
			return err
		}
		return s.deleted("service", args[0], m.dryRun)
	}, func(ctx context.Context, hosts []inventory.Host, args []string) error {
		req := request(args[0])
		return s.each(ctx, hosts, func(ctx context.Context, _ inventory.Host, c *client) (done, error) {
			_, err := c.services.DeleteService(ctx, req)
			if m.dryRun {
				return done{outcome: "would-change"}, err
			}
			return done{outcome: "deleted"}, err
		})
	})
	return cmd
}

// deleted reports a deletion.
func (s *session) deleted(what, name string, dryRun bool) error {
	verb := "deleted"
	if dryRun {
		verb = "would be deleted"
	}
	if s.structured() {
		return errors.Join(s.print(object{{what, name}, {"deleted", !dryRun}}), wouldChange(dryRun))
	}
	s.say("%s: %s", name, verb)
	return wouldChange(dryRun)
}

// confirm asks before something that cannot be undone. Without a terminal
// nobody could answer: then -y must have said it.
func (s *session) confirm(ctx context.Context, question string) error {
	if s.yes {
		return nil
	}
	if _, ok := terminal(s.stdio.In); !ok {
		return usage("%s there is no terminal to ask on: say yes with -y", question)
	}
	fmt.Fprintf(s.stdio.Err, "%s [y/N] ", question)
	answer := make(chan string, 1)
	// A read from a terminal cannot be ended: after Ctrl-C it ends with the program.
	go func() {
		line, _ := bufio.NewReader(s.stdio.In).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case a := <-answer:
		if a == "y" || a == "yes" {
			return nil
		}
	case <-ctx.Done():
		fmt.Fprintln(s.stdio.Err)
	}
	return &exitError{ExitError, errors.New("nothing was done")}
}
