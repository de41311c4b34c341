package ctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/internal/spec"
)

// upgradeFlags are what upgrade is told beyond the service.
type upgradeFlags struct {
	mutation
	signing
	rollout                     rolloutFlags
	file, artifact, steps, wait string
	hold, soak                  time.Duration
	forceOldest, force          bool
}

func newUpgrade(s *session) *cobra.Command {
	var u upgradeFlags
	cmd := &cobra.Command{
		Use:   "upgrade SERVICE [ARTIFACT]",
		Short: "Replace what runs, without losing a request",
		Long: "Starts a new generation from the recorded specification, or the one of -f, with this\n" +
			"or the recorded artifact: a path (pushed first), https://...#sha256=HEX (the agent\n" +
			"fetches it), sha256:HEX or host:/PATH. Shows the progress until the new generation is\n" +
			"promoted. A new generation that fails is turned away and the old one goes on: exit\n" +
			"code 4. Ctrl-C detaches, the upgrade goes on.\n\n" +
			"On several hosts it is a rollout: all of them are claimed and get what they lack, then\n" +
			"follow the canary and the waves. When too many hosts fail, every touched one returns to\n" +
			"what it ran. In the texts of -f, {host.name}, {host.address}, {host.labels.KEY} and\n" +
			"{host.vars.NAME} are each host's own. See gracectl explain rollouts.",
		Example: example(
			"gracectl upgrade web ./web-v2",
			"gracectl upgrade web ./web-v2 --steps 1%,10%,50% --hold 30s --soak 5m",
			"gracectl upgrade web -f web.yaml -m 'more workers'",
			"gracectl upgrade web ./web-v2 --inventory fleet.yaml --hosts role=web --canary 1 --waves 10%,100%"),
		Args:              cobra.RangeArgs(0, 2),
		ValidArgsFunction: s.completeServices,
	}
	f := cmd.Flags()
	f.StringVarP(&u.file, "file", "f", "", "service file to record and roll out; - is standard input")
	f.StringVar(&u.artifact, "artifact", "", "artifact, instead of the argument")
	f.StringVar(&u.steps, "steps", "", "canary steps instead of the specification's, such as 1%,10%,50%, or none")
	f.DurationVar(&u.hold, "hold", 0, "how long each step lasts, instead of the specification's")
	f.DurationVar(&u.soak, "soak", 0, "how long the old generation stays on standby, instead of the specification's")
	f.BoolVar(&u.forceOldest, "force-oldest", false, "end the oldest draining generation when too many are alive")
	f.BoolVar(&u.force, "force", false, "start although memory looks short")
	waitFlag(cmd, &u.wait)
	u.rollout.flags(cmd)
	s.deltaFlag(cmd)
	u.mutation.flags(cmd)
	u.signing.flags(cmd)
	var plan *plan
	cmd.PreRunE = func(_ *cobra.Command, args []string) (err error) {
		plan, err = s.plan(cmd, args, &u)
		return err
	}
	s.records(cmd)
	cmd.RunE = s.withRollout(&u.rollout, func(ctx context.Context, c *client, _ []string) error {
		return s.upgrade(ctx, c, plan, u.wait)
	}, func(ctx context.Context, hosts []inventory.Host, _ []string) error {
		return s.upgradeHosts(ctx, hosts, plan, &u)
	})
	return cmd
}

// plan is an upgrade before the agent was asked anything.
type plan struct {
	request *pb.StartUpgradeRequest
	text    *serviceText  // nil: the recorded specification
	file    *spec.File    // the same for the one host; nil for several
	from    spec.Artifact // zero: the recorded one, or that of each host's file
}

// plan makes one of flags and arguments.
func (s *session) plan(cmd *cobra.Command, args []string, u *upgradeFlags) (*plan, error) {
	if err := checkWait(u.wait); err != nil {
		return nil, err
	}
	req := &pb.StartUpgradeRequest{
		RequestId: u.id(), Reason: u.reason, ValidateOnly: u.dryRun,
		ForceOldest: u.forceOldest, Force: u.force,
	}
	if err := steps(u.steps, req); err != nil {
		return nil, err
	}
	if cmd.Flags().Changed("hold") {
		req.Hold = durationpb.New(u.hold)
	}
	if cmd.Flags().Changed("soak") {
		req.Soak = durationpb.New(u.soak)
	}
	if len(args) > 0 {
		req.Service = args[0]
	}
	p := &plan{request: req}
	if err := s.upgradeFile(cmd.Context(), u, p); err != nil {
		return nil, err
	}
	var err error
	if p.from, err = upgradeSource(args, u, p.file); err != nil {
		return nil, err
	}
	req.Signature, req.BreakGlass, err = u.bring(p.from, u.reason)
	return p, err
}

// upgradeFile reads the service file, when there is one, and settles the name.
func (s *session) upgradeFile(ctx context.Context, u *upgradeFlags, p *plan) (err error) {
	if u.file == "" {
		if p.request.GetService() == "" {
			return usage("name the service, or give its service file with -f")
		}
		return nil
	}
	if p.text, err = s.readText(u.file); err != nil {
		return err
	}
	many, err := s.asked(ctx, &u.rollout)
	if err != nil {
		return err
	}
	var file *spec.File
	if many {
		file, err = p.text.decode(s.chosen[0])
	} else {
		file, err = s.specOfOne(ctx, p.text)
		p.file = file
	}
	switch {
	case err != nil:
		return err
	case p.request.GetService() != "" && p.request.GetService() != file.Name:
		return usage("%s declares the service %s, not %s", u.file, file.Name, p.request.GetService())
	}
	p.request.Service = file.Name
	return nil
}

// upgradeSource is the artifact of the argument, the flag or the file.
func upgradeSource(args []string, u *upgradeFlags, file *spec.File) (spec.Artifact, error) {
	switch {
	case len(args) == 2 && u.artifact != "":
		return spec.Artifact{}, usage("the artifact is given twice: %s and --artifact %s", args[1], u.artifact)
	case len(args) == 2:
		return source(args[1])
	case u.artifact != "":
		return source(u.artifact)
	case file != nil:
		return file.Artifact, nil
	}
	return spec.Artifact{}, nil
}

// steps reads --steps.
func steps(text string, req *pb.StartUpgradeRequest) error {
	if text == "" {
		return nil
	}
	if text == "none" {
		req.NoSteps = true
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		weight, err := spec.ParsePercent(strings.TrimSpace(part))
		if err != nil {
			return usage("--steps: %v", err)
		}
		req.Steps = append(req.Steps, &pb.CanaryStep{Weight: weight})
	}
	return nil
}

func (s *session) upgrade(ctx context.Context, c *client, p *plan, wait string) error {
	req := p.request
	ref, missing, err := s.supply(ctx, c, p.from, req.GetValidateOnly())
	if err != nil {
		return err
	}
	req.Artifact = ref
	if p.file != nil {
		files, lacks, err := s.supplyFiles(ctx, c, p.file.Files, req.GetValidateOnly())
		if err != nil {
			return err
		}
		missing = missing || lacks
		req.Spec = p.file.ToProto(ref, files)
	}
	answer, err := c.upgrades.StartUpgrade(ctx, req)
	if missing && notThere(err) {
		return s.concludeDry(req.GetService(), true, nil)
	}
	if err != nil {
		return err
	}
	return s.begin(ctx, c, req.GetService(), answer, req.GetValidateOnly(), wait)
}

// begin follows what StartUpgrade answered.
func (s *session) begin(ctx context.Context, c *client, service string, answer *pb.StartUpgradeResponse, dryRun bool, wait string) error {
	if dryRun {
		return s.concludeDry(service, !answer.GetUnchanged(), answer.GetChanges())
	}
	if answer.GetUnchanged() {
		return s.conclude(unchanged(service, answer.GetUpgrade()))
	}
	for _, change := range answer.GetChanges() {
		s.note("%s: %s", service, changeText(change))
	}
	if answer.GetAttached() {
		s.note("%s: attached to %s, which was in progress", service, answer.GetUpgrade().GetId())
	}
	return s.follow(ctx, c, answer.GetUpgrade(), wait, false)
}

func unchanged(service string, up *pb.Upgrade) result {
	return result{
		outcome: "unchanged", host: "unchanged", service: service, upgrade: up,
		text: fmt.Sprintf("%s: unchanged, this is what runs", service),
	}
}
