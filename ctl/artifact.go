package ctl

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newArtifact(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "artifact",
		Short:   "List and delete stored artifacts",
		Example: example("gracectl artifact list", "gracectl artifact delete sha256:3f2a9c01d4e5"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("say what: artifact list or artifact delete")
		},
	}
	cmd.AddCommand(newArtifactList(s), newArtifactDelete(s))
	return cmd
}

func newArtifactList(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List stored artifacts, newest first",
		Example: example("gracectl artifact list", "gracectl artifact list -o json"),
		Args:    cobra.NoArgs,
		RunE: s.withAgent(func(ctx context.Context, c *client, _ []string) error {
			all, err := c.listArtifacts(ctx)
			if err != nil {
				return err
			}
			if s.structured() {
				return s.print(object{{"artifacts", many(all)}})
			}
			t := &table{head: []string{"DIGEST", "SIZE", "AGE", "NAME", "VERSION", "USED BY"}}
			for _, a := range all {
				t.add(cell{"sha256:" + short(a.GetDigest()), ""}, cell{size(a.GetSizeBytes()), ""},
					cell{ago(a.GetCreateTime(), time.Now()), ""}, cell{orDash(a.GetFileName()), ""},
					cell{orDash(a.GetVersion()), ""}, cell{strings.Join(a.GetUsedBy(), ", "), ""})
			}
			return s.printTable(t)
		}),
	}
}

func (c *client) listArtifacts(ctx context.Context) ([]*pb.Artifact, error) {
	var all []*pb.Artifact
	req := &pb.ListArtifactsRequest{}
	for {
		answer, err := c.artifacts.ListArtifacts(ctx, req)
		if err != nil {
			return nil, err
		}
		all = append(all, answer.GetArtifacts()...)
		if req.PageToken = answer.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
}

func newArtifactDelete(s *session) *cobra.Command {
	var m mutation
	cmd := &cobra.Command{
		Use:     "delete DIGEST",
		Short:   "Delete an artifact that no kept generation uses",
		Example: example("gracectl artifact delete sha256:3f2a9c01d4e5"),
		Args:    cobra.ExactArgs(1),
	}
	m.flags(cmd)
	cmd.RunE = s.withAgent(func(ctx context.Context, c *client, args []string) error {
		digest, err := c.fullDigest(ctx, "sha256:"+strings.TrimPrefix(args[0], "sha256:"))
		if err != nil {
			return err
		}
		_, err = c.artifacts.DeleteArtifact(ctx, &pb.DeleteArtifactRequest{
			Digest: digest, ValidateOnly: m.dryRun, RequestId: m.id(), Reason: m.reason,
		})
		if err != nil {
			return err
		}
		return s.deleted("artifact", digest, m.dryRun)
	})
	return cmd
}
