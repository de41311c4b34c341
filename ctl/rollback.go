package ctl

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newRollback(s *session) *cobra.Command {
	var m mutation
	var to, wait string
	var back int32
	cmd := &cobra.Command{
		Use:   "rollback SERVICE",
		Short: "Return to an earlier good generation",
		Long: "Returns to the artifact and specification of an earlier good generation, the previous\n" +
			"one unless told otherwise; failed and aborted ones are skipped. While an upgrade is in\n" +
			"canary or soak, a rollback without a target aborts it.",
		Example:           example("gracectl rollback web", "gracectl rollback web --back 2", "gracectl rollback web --to v2.3.0"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	f := cmd.Flags()
	f.StringVar(&to, "to", "", "generation's number, sha256:HEX or version")
	f.Int32Var(&back, "back", 0, "so many good generations back")
	f.Int32Var(&back, "steps", 0, "")
	_ = f.MarkHidden("steps")
	waitFlag(cmd, &wait)
	m.flags(cmd)
	req := &pb.RollbackServiceRequest{}
	cmd.PreRunE = func(_ *cobra.Command, args []string) error {
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
	s.withRecords(cmd, func(ctx context.Context, c *client, _ []string) error {
		if t, ok := req.GetTarget().(*pb.RollbackServiceRequest_Artifact); ok {
			digest, err := c.fullDigest(ctx, t.Artifact)
			if err != nil {
				return err
			}
			t.Artifact = digest
		}
		return s.rollback(ctx, c, req, wait)
	})
	return cmd
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
