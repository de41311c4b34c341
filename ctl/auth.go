package ctl

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newAuth(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "auth",
		Short:   "Who you are to the agent, and what you may do",
		Example: example("gracectl auth whoami", "gracectl auth can-i upgrade web"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("say what: auth whoami or auth can-i")
		},
	}
	cmd.AddCommand(newWhoami(s), newCanI(s))
	return cmd
}

func newWhoami(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "whoami",
		Short:   "Show whom the agent takes you for",
		Example: example("gracectl auth whoami", "gracectl --agent web-1:7443 auth whoami"),
		Args:    cobra.NoArgs,
		RunE: s.withAgent(func(ctx context.Context, c *client, _ []string) error {
			answer, err := c.agent.GetCaller(ctx, &pb.GetCallerRequest{})
			if err != nil {
				return err
			}
			if s.structured() {
				return s.print(message(answer))
			}
			s.say("%s, from %s", visible(answer.GetActor()), visible(answer.GetFrom()))
			s.say("roles: %s", orDash(strings.Join(answer.GetRoles(), ", ")))
			for _, g := range answer.GetGrants() {
				on := "every service"
				if len(g.GetServices()) > 0 {
					on = strings.Join(g.GetServices(), ", ")
				}
				s.say("may %s on %s", strings.Join(g.GetPermissions(), ", "), visible(on))
			}
			if len(answer.GetGrants()) == 0 {
				s.say("may nothing on this host")
			}
			return nil
		}),
	}
}

func newCanI(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "can-i PERMISSION [SERVICE]",
		Short: "Say whether you have a permission; exit code 1 if not",
		Long: "Says yes or no. Permissions are read, logs, push, upgrade, rollback, stop and admin;\n" +
			"without a service the question is about all of them.",
		Example: example("gracectl auth can-i upgrade web", "gracectl auth can-i admin"),
		Args:    cobra.RangeArgs(1, 2),
		RunE: s.withAgent(func(ctx context.Context, c *client, args []string) error {
			request := &pb.CheckPermissionRequest{Permission: args[0]}
			if len(args) == 2 {
				request.Service = args[1]
			}
			answer, err := c.agent.CheckPermission(ctx, request)
			if err != nil {
				return err
			}
			if s.structured() {
				err = s.print(message(answer))
			} else {
				s.say("%s", yesNo(answer.GetAllowed()))
			}
			if err == nil && !answer.GetAllowed() {
				err = &exitError{code: ExitError}
			}
			return err
		}),
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
