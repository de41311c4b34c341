package ctl

import (
	"context"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

// remark is what an operator says to whoever drives a rollout.
type remark struct {
	mutation
	action pb.ControlRolloutRequest_Action
	// allowed is what the hosts have recorded: see drive.
	allowed bool
	drives  bool              // without a driver, who says it becomes that
	command rollout.EventType // what to begin with then; the claims tell the rest
	notify  []string          // URLs that are told then
	said    string
	next    []string // what may be wanted after that
}

// goingOn is what may be wanted of a rollout that goes on.
var goingOn = []string{"watch", "pause", "abort"}

func aborting() *remark {
	return &remark{
		action: pb.ControlRolloutRequest_ACTION_ABORT, drives: true, command: rollout.Abort,
		said: "is aborted: every touched host returns to what it ran", next: []string{"watch"},
	}
}

func newRolloutPause(s *session) *cobra.Command {
	return s.remarkCommand(&cobra.Command{
		Use:   "pause [ID]",
		Short: "Begin nothing more: the emergency stop of a rollout",
		Long: "Tells the driver of a rollout to begin nothing more. Hosts in flight finish. The driver\n" +
			"hears of it within seconds, and whoever goes on later finds it paused.",
		Example: example("gracectl rollout pause -m 'errors rise'", "gracectl rollout pause r-0123"),
	}, &remark{
		action: pb.ControlRolloutRequest_ACTION_PAUSE,
		said:   "is paused: hosts in flight finish, nothing more begins", next: []string{"watch", "resume", "abort"},
	})
}

func newRolloutPromote(s *session) *cobra.Command {
	return s.remarkCommand(&cobra.Command{
		Use:     "promote [ID]",
		Short:   "Begin the next wave of a rollout with --pause manual, or before its pause is over",
		Long:    "Begins the next wave. Where nobody drives the rollout, this command does from then on.",
		Example: example("gracectl rollout promote", "gracectl rollout promote r-0123 -m 'canary looks good'"),
	}, &remark{action: pb.ControlRolloutRequest_ACTION_PROMOTE, drives: true, said: "goes on with the next wave", next: goingOn})
}

func newRolloutAbort(s *session) *cobra.Command {
	return s.remarkCommand(&cobra.Command{
		Use:   "abort [ID]",
		Short: "Stop a rollout and return every touched host to what it ran",
		Long: "Stops a rollout; every touched host returns to its own predecessor, the last wave first.\n" +
			"Where nobody drives the rollout, this command does from then on. One that has ended is\n" +
			"undone by gracectl rollback SERVICE --rollout ID.",
		Example: example("gracectl rollout abort -m 'wrong build'", "gracectl rollout abort r-0123"),
	}, aborting())
}

func (s *session) remarkCommand(cmd *cobra.Command, w *remark) *cobra.Command {
	cmd.Args = cobra.MaximumNArgs(1)
	w.flags(cmd)
	if w.drives {
		commandsFlag(cmd, &w.allowed)
	}
	s.records(cmd)
	cmd.RunE = s.withFleet(func(ctx context.Context, args []string) error {
		sight, err := s.look(ctx, names(s.chosen), first(args))
		if err != nil {
			return err
		}
		return s.remark(ctx, sight, w)
	})
	return cmd
}
