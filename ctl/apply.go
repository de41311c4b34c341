package ctl

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/internal/spec"
)

func newApply(s *session) *cobra.Command {
	var m mutation
	var g signing
	var file, wait string
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Create a service, or record a changed specification",
		Long: "Creates the service of a service file and starts its first generation. For a service\n" +
			"that exists it records what changed, for the next upgrade, and touches nothing that\n" +
			"runs; only drain, restart, upgrade and keep policies act at once.",
		Example: example("gracectl apply -f web.yaml", "gracectl apply -f web.yaml --dry-run",
			"gracectl apply -f web.yaml --hosts role=web   # {host.vars.NAME} in its texts is each host's own"),
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "service file; - is standard input")
	waitFlag(cmd, &wait)
	m.flags(cmd)
	g.flags(cmd)
	var text *serviceText
	var f *spec.File
	req := &pb.ApplyServiceRequest{}
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) (err error) {
		if file == "" {
			return usage("name the service file with -f")
		}
		if err := checkWait(wait); err != nil {
			return err
		}
		if text, err = s.readText(file); err != nil {
			return err
		}
		many, err := s.several(cmd.Context())
		if err != nil || many {
			return err
		}
		if f, err = s.specOfOne(cmd.Context(), text); err != nil {
			return err
		}
		req.Signature, req.BreakGlass, err = g.bring(f.Artifact, m.reason)
		return err
	}
	s.records(cmd)
	cmd.RunE = s.withEach(func(ctx context.Context, c *client, _ []string) error {
		return s.apply(ctx, c, f, req, wait, &m)
	}, func(ctx context.Context, hosts []inventory.Host, _ []string) error {
		m.id() // one for all, before any is asked
		return s.each(ctx, hosts, func(ctx context.Context, host inventory.Host, c *client) (done, error) {
			f, err := text.decode(host)
			if err != nil {
				return done{}, err
			}
			req := &pb.ApplyServiceRequest{}
			if req.Signature, req.BreakGlass, err = g.bring(f.Artifact, m.reason); err != nil {
				return done{}, err
			}
			return s.applyOne(ctx, c, f, req, wait, &m)
		})
	})
	return cmd
}

// applySpec sends what a service file needs, and then what it says. Missing is what a
// dry run did not send.
func (s *session) applySpec(ctx context.Context, c *client, f *spec.File, req *pb.ApplyServiceRequest, m *mutation) (answer *pb.ApplyServiceResponse, missing bool, err error) {
	ref, missing, err := s.supply(ctx, c, f.Artifact, m.dryRun)
	if err != nil {
		return nil, false, err
	}
	files, lacks, err := s.supplyFiles(ctx, c, f.Files, m.dryRun)
	if err != nil {
		return nil, false, err
	}
	req.Name, req.Spec = f.Name, f.ToProto(ref, files)
	req.ValidateOnly, req.RequestId, req.Reason = m.dryRun, m.id(), m.reason
	answer, err = c.services.ApplyService(ctx, req)
	return answer, missing || lacks, err
}

// applyOne applies a service file on one of many hosts.
func (s *session) applyOne(ctx context.Context, c *client, f *spec.File, req *pb.ApplyServiceRequest, wait string, m *mutation) (done, error) {
	answer, missing, err := s.applySpec(ctx, c, f, req, m)
	d := done{outcome: "unchanged", text: changesText(answer.GetChanges()), more: object{{"changes", many(answer.GetChanges())}}}
	changes := answer.GetCreated() || len(answer.GetChanges()) > 0
	switch {
	case missing && notThere(err):
		return done{outcome: "would-change"}, nil
	case err != nil:
		return done{}, err
	case m.dryRun && changes:
		d.outcome = "would-change"
	case answer.GetCreated() && answer.GetUpgrade() != nil:
		return s.followOne(ctx, c, answer.GetUpgrade(), wait, "created")
	case changes:
		d.outcome = "recorded"
	}
	return d, nil
}

func (s *session) apply(ctx context.Context, c *client, f *spec.File, req *pb.ApplyServiceRequest, wait string, m *mutation) error {
	answer, missing, err := s.applySpec(ctx, c, f, req, m)
	if missing && notThere(err) {
		return s.concludeDry(f.Name, true, nil)
	}
	if err != nil {
		return err
	}
	for _, w := range answer.GetWarnings() {
		s.note("warning: %s", visible(w))
	}
	if m.dryRun {
		return s.concludeDry(f.Name, answer.GetCreated() || len(answer.GetChanges()) > 0, answer.GetChanges())
	}
	if answer.GetCreated() && answer.GetUpgrade() != nil {
		return s.follow(ctx, c, answer.GetUpgrade(), wait, false)
	}
	return s.recorded(f.Name, answer)
}

// recorded reports a specification that waits for the next upgrade.
func (s *session) recorded(name string, answer *pb.ApplyServiceResponse) error {
	if s.structured() {
		if err := s.record("applied", time.Now(), message(answer)); err != nil {
			return err
		}
	}
	r := result{outcome: "unchanged", host: "unchanged", service: name, text: name + ": unchanged"}
	if len(answer.GetChanges()) > 0 {
		r.outcome, r.host, r.text = "recorded", "recorded", name+": recorded"
	}
	r.body = changeTexts(answer.GetChanges())
	if slices.ContainsFunc(answer.GetChanges(), func(c *pb.FieldChange) bool { return !c.GetImmediate() }) {
		r.details = []string{"next: gracectl upgrade " + name}
	}
	return s.conclude(r)
}
