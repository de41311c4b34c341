package ctl

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

func newRollback(s *session) *cobra.Command {
	var m mutation
	var r rolloutFlags
	var to, wait, ofRollout string
	var allowed bool
	var back int32
	cmd := &cobra.Command{
		Use:   "rollback SERVICE",
		Short: "Return to an earlier good generation",
		Long: "Returns to the artifact and specification of an earlier good generation, the previous\n" +
			"one unless told otherwise; failed and aborted ones are skipped. While an upgrade is in\n" +
			"canary or soak, a rollback without a target aborts it.\n\n" +
			"On several hosts it is a rollout, to an artifact or a version: generations are numbered\n" +
			"by each host. With --rollout every host that a rollout touched returns to what it ran\n" +
			"before that, whatever this was. See gracectl explain rollouts.",
		Example: example("gracectl rollback web", "gracectl rollback web --back 2", "gracectl rollback web --to v2.3.0",
			"gracectl rollback web --rollout r-0123456789ab --inventory fleet.yaml"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	f := cmd.Flags()
	f.StringVar(&to, "to", "", "generation's number, sha256:HEX or version")
	f.Int32Var(&back, "back", 0, "so many good generations back")
	f.Int32Var(&back, "steps", 0, "")
	_ = f.MarkHidden("steps")
	f.StringVar(&ofRollout, "rollout", "", "undo this rollout, also one that has ended: its id, or the begin of it")
	commandsFlag(cmd, &allowed)
	waitFlag(cmd, &wait)
	r.flags(cmd)
	m.flags(cmd)
	req := &pb.RollbackServiceRequest{}
	cmd.PreRunE = func(_ *cobra.Command, args []string) error {
		if ofRollout != "" && (to != "" || cmd.Flags().Changed("back") || r.given() != "") {
			return usage("--rollout says all: where each host returns to, and in which order")
		}
		req.Service, req.RequestId, req.Reason, req.ValidateOnly = args[0], m.id(), m.reason, m.dryRun
		if !cmd.Flags().Changed("back") && !cmd.Flags().Changed("steps") {
			return errors.Join(checkWait(wait), target(to, req))
		}
		if back < 1 || to != "" {
			return usage("--back wants a number from 1, and no --to beside it")
		}
		req.Target = &pb.RollbackServiceRequest_Back{Back: back}
		return checkWait(wait)
	}
	s.records(cmd)
	run := s.withRollout(&r, func(ctx context.Context, c *client, _ []string) error {
		if t, ok := req.GetTarget().(*pb.RollbackServiceRequest_Artifact); ok {
			digest, err := c.fullDigest(ctx, t.Artifact)
			if err != nil {
				return err
			}
			t.Artifact = digest
		}
		return s.rollback(ctx, c, req, wait)
	}, func(ctx context.Context, hosts []inventory.Host, _ []string) error {
		release, err := s.rollbackRelease(ctx, hosts, req)
		if err != nil {
			return err
		}
		o := order{service: req.GetService(), action: rollout.ActionRollback, release: same(release)}
		return s.rollOut(ctx, o, hosts, &r, &m, wait)
	})
	undo := s.withFleet(func(ctx context.Context, args []string) error {
		return s.undoRollout(ctx, args[0], ofRollout, allowed, &m)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if ofRollout != "" {
			return undo(cmd, args)
		}
		return run(cmd, args)
	}
	return cmd
}

// rollbackRelease is where many hosts go back to.
func (s *session) rollbackRelease(ctx context.Context, hosts []inventory.Host, req *pb.RollbackServiceRequest) (rollout.Release, error) {
	switch t := req.GetTarget().(type) {
	case *pb.RollbackServiceRequest_Artifact:
		digest, err := s.wholeDigest(ctx, hosts, t.Artifact)
		return rollout.Release{Artifact: digest}, err
	case *pb.RollbackServiceRequest_Version:
		return rollout.Release{Version: t.Version}, nil
	case *pb.RollbackServiceRequest_Generation:
		return rollout.Release{}, usage("--to %d on several hosts: each host numbers its own generations; say --to sha256:HEX, --to VERSION or --rollout ID", t.Generation)
	case *pb.RollbackServiceRequest_Back:
		return rollout.Release{}, usage("--back on several hosts: each host has a history of its own; say --to sha256:HEX, --to VERSION or --rollout ID")
	}
	return rollout.Release{}, usage("rollback on several hosts: to what? --to sha256:HEX, --to VERSION, or --rollout ID for what each ran before that")
}

// target reads --to: a number is a generation, a digest an artifact, anything
// else a version.
func target(to string, req *pb.RollbackServiceRequest) error {
	if to == "" {
		return nil
	}
	if n, err := strconv.ParseInt(to, 10, 32); err == nil {
		if n < 1 {
			return usage("--to %d: generations are counted from 1", n)
		}
		req.Target = &pb.RollbackServiceRequest_Generation{Generation: int32(n)}
		return nil
	}
	req.Target = &pb.RollbackServiceRequest_Version{Version: to}
	if strings.HasPrefix(to, "sha256:") {
		req.Target = &pb.RollbackServiceRequest_Artifact{Artifact: to}
	}
	return nil
}

func (s *session) rollback(ctx context.Context, c *client, req *pb.RollbackServiceRequest, wait string) error {
	answer, err := c.upgrades.RollbackService(ctx, req)
	switch {
	case err != nil:
		return err
	case req.GetValidateOnly():
		return s.concludeDry(req.GetService(), !answer.GetUnchanged(), answer.GetChanges())
	case answer.GetUnchanged():
		return s.conclude(unchanged(req.GetService(), answer.GetUpgrade()))
	}
	return s.follow(ctx, c, answer.GetUpgrade(), wait, answer.GetAborted())
}
