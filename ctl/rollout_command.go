package ctl

import (
	"github.com/spf13/cobra"
)

func newRollout(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "See, pause, continue and undo rollouts over many hosts",
		Long: "A rollout is an upgrade, restart or rollback of many hosts. Its hosts know all of it:\n" +
			"these commands ask them, from any machine that reaches them. ID is a rollout's id or\n" +
			"the begin of it, or a service's name for its open rollout, else its last; without one\n" +
			"the only rollout that is open is meant. See gracectl explain rollouts.",
		Example: example("gracectl rollout list --inventory fleet.yaml", "gracectl rollout status", "gracectl rollout pause r-0123 -m 'errors rise'"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("say what: rollout list, status, watch, pause, resume, promote or abort")
		},
	}
	cmd.AddCommand(newRolloutList(s), newRolloutStatus(s), newRolloutWatch(s), newRolloutPause(s), newRolloutResume(s), newRolloutPromote(s), newRolloutAbort(s))
	return cmd
}

// first is the first of the arguments, or nothing.
func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
