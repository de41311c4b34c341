package ctl

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newPush(s *session) *cobra.Command {
	var m mutation
	var version string
	var labels map[string]string
	cmd := &cobra.Command{
		Use:   "push FILE",
		Short: "Store an artifact and print its digest",
		Long: "Stores an executable on the host, unless it is there already, and prints its digest.\n" +
			"An interrupted push goes on where it ended. Where bytes travel slowly they are compressed,\n" +
			"or sent as the difference to an artifact that the host holds and that was pushed from here.",
		Example: example("gracectl push ./web --version v2.3.1", "gracectl push ./web --delta-from ./web-v2.3.0", "gracectl upgrade web $(gracectl push ./web)"),
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&version, "version", "", "version to record with the artifact")
	cmd.Flags().StringToStringVar(&labels, "label", nil, "label to record, KEY=VALUE; may be repeated")
	s.deltaFlag(cmd)
	m.flags(cmd)
	cmd.RunE = s.withAgent(func(ctx context.Context, c *client, args []string) error {
		up, err := openUpload(args[0])
		if err != nil {
			return err
		}
		defer up.close()
		up.header.Version, up.header.Labels = version, labels
		held, err := up.held(ctx, c)
		switch {
		case err != nil:
			return err
		case m.dryRun:
			return errors.Join(s.pushed(&pb.Artifact{Digest: up.header.Digest, SizeBytes: up.header.SizeBytes}), wouldChange(!held.GetComplete()))
		}
		artifact, err := s.push(ctx, c, up)
		if err != nil {
			return err
		}
		if artifact == nil {
			artifact = &pb.Artifact{Digest: up.header.Digest, SizeBytes: up.header.SizeBytes, FileName: up.header.FileName}
		}
		return s.pushed(artifact)
	})
	return cmd
}

// pushed prints the digest alone, for $(gracectl push ...).
func (s *session) pushed(a *pb.Artifact) error {
	if s.structured() {
		return s.print(message(a))
	}
	s.say("%s", a.GetDigest())
	return nil
}
