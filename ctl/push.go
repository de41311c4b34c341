package ctl

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

func newPush(s *session) *cobra.Command {
	var m mutation
	var version string
	var labels map[string]string
	cmd := &cobra.Command{
		Use:   "push FILE|URL",
		Short: "Store an artifact and print its digest",
		Long: "Stores an executable on the host, unless it is there already, and prints its digest.\n" +
			"An interrupted push goes on where it ended. Where bytes travel slowly they are compressed,\n" +
			"or sent as the difference to an artifact that the host holds and that was pushed from here.\n" +
			"From a URL, https://HOST/PATH#sha256=HEX, the agent fetches it by itself, if fetch.from of\n" +
			"its graced.yaml lets it.",
		Example: example("gracectl push ./web --version v2.3.1", "gracectl push ./web --hosts role=web", "gracectl push ./web --delta-from ./web-v2.3.0",
			"gracectl push \"https://artifacts.example.org/releases/web#sha256=$SHA256\"", "gracectl upgrade web $(gracectl push ./web)"),
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&version, "version", "", "version to record with the artifact")
	cmd.Flags().StringToStringVar(&labels, "label", nil, "label to record, KEY=VALUE; may be repeated")
	s.deltaFlag(cmd)
	m.flags(cmd)
	open := func(path string) (*upload, error) {
		up, err := s.stock.artifact(path)
		if err == nil {
			up.header.Version, up.header.Labels = version, labels
		}
		return up, err
	}
	cmd.RunE = s.withEach(func(ctx context.Context, c *client, args []string) error {
		if strings.HasPrefix(args[0], "https://") {
			return s.pushURL(ctx, c, args[0], version, labels, m.dryRun)
		}
		up, err := open(args[0])
		if err != nil {
			return err
		}
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
	}, func(ctx context.Context, hosts []inventory.Host, args []string) error {
		if strings.HasPrefix(args[0], "https://") {
			return s.pushURLToHosts(ctx, hosts, args[0], version, labels, m.dryRun)
		}
		up, err := open(args[0])
		if err != nil {
			return err
		}
		return s.pushToHosts(ctx, hosts, up, m.dryRun)
	})
	return cmd
}

// pushToHosts stores one artifact with many agents. On stdout is the digest alone, unless
// programs read it.
func (s *session) pushToHosts(ctx context.Context, hosts []inventory.Host, up *upload, dryRun bool) error {
	return s.storeOn(ctx, hosts, up.header.GetDigest(), func(ctx context.Context, _ inventory.Host, c *client) (done, error) {
		return s.pushOne(ctx, c, up, dryRun)
	})
}

// storeOn has each of many hosts store an artifact.
func (s *session) storeOn(ctx context.Context, hosts []inventory.Host, digest string, push part) error {
	if s.structured() {
		return s.each(ctx, hosts, push)
	}
	return s.perform(ctx, hosts, push, func(host string, _ object, d done) error {
		s.note("%s: %s", host, strings.TrimSuffix(d.outcome+": "+d.text, ": "))
		return nil
	}, func() error { return s.pushed(&pb.Artifact{Digest: digest}) })
}

// pushOne stores an artifact with one of many agents.
func (s *session) pushOne(ctx context.Context, c *client, up *upload, dryRun bool) (done, error) {
	moved := int64(0)
	c.moves = func(n int64) { moved += n }
	held, err := up.held(ctx, c)
	digest := member{"digest", up.header.GetDigest()}
	switch {
	case err != nil:
		return done{}, err
	case dryRun && !held.GetComplete():
		return done{outcome: "would-change", text: "would push " + size(up.header.GetSizeBytes()-held.GetCommittedBytes()), more: object{digest}}, nil
	case dryRun:
		return done{outcome: "unchanged", more: object{digest}}, nil
	}
	if _, err = s.push(ctx, c, up); err != nil {
		return done{}, err
	}
	d := done{outcome: "unchanged", more: object{digest, {"movedBytes", moved}}}
	if !held.GetComplete() {
		d.outcome, d.text = "pushed", "moved "+size(moved)
	}
	return d, nil
}

// pushed prints the digest alone, for $(gracectl push ...).
func (s *session) pushed(a *pb.Artifact) error {
	if s.structured() {
		return s.print(message(a))
	}
	s.say("%s", a.GetDigest())
	return nil
}
