package ctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gracefleet/gracefleet/ctl/internal/spec"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// upgradeFlags are what upgrade is told beyond the service.
type upgradeFlags struct {
	mutation
	signing
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
			"or the recorded artifact: a path (pushed first), sha256:HEX or host:/PATH. Shows the\n" +
			"progress until the new generation is promoted. A new generation that fails is turned\n" +
			"away and the old one goes on: exit code 4. Ctrl-C detaches, the upgrade goes on.",
		Example: example(
			"gracectl upgrade web ./web-v2",
			"gracectl upgrade web ./web-v2 --steps 1%,10%,50% --hold 30s --soak 5m",
			"gracectl upgrade web -f web.yaml -m 'more workers'"),
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
	s.deltaFlag(cmd)
	u.mutation.flags(cmd)
	u.signing.flags(cmd)
	var plan *plan
	cmd.PreRunE = func(_ *cobra.Command, args []string) (err error) {
		plan, err = s.plan(cmd, args, &u)
		return err
	}
	s.withRecords(cmd, func(ctx context.Context, c *client, _ []string) error {
		return s.upgrade(ctx, c, plan, u.wait)
	})
	return cmd
}

// plan is an upgrade before the agent was asked anything.
type plan struct {
	request *pb.StartUpgradeRequest
	file    *spec.File    // nil: the recorded specification
	from    spec.Artifact // zero: the recorded one
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
	file, err := s.upgradeFile(args, u, req)
	if err != nil {
		return nil, err
	}
	from, err := upgradeSource(args, u, file)
	if err != nil {
		return nil, err
	}
	req.Signature, req.BreakGlass, err = u.bring(from, u.reason)
	return &plan{req, file, from}, err
}

// upgradeFile reads the service file, when there is one, and settles the name.
func (s *session) upgradeFile(args []string, u *upgradeFlags, req *pb.StartUpgradeRequest) (*spec.File, error) {
	if len(args) > 0 {
		req.Service = args[0]
	}
	if u.file == "" {
		if req.Service == "" {
			return nil, usage("name the service, or give its service file with -f")
		}
		return nil, nil
	}
	file, err := s.readSpec(u.file)
	if err != nil {
		return nil, err
	}
	if req.Service != "" && req.Service != file.Name {
		return nil, usage("%s declares the service %s, not %s", u.file, file.Name, req.Service)
	}
	req.Service = file.Name
	return file, nil
}

// upgradeSource is the artifact of the argument, the flag or the file.
func upgradeSource(args []string, u *upgradeFlags, file *spec.File) (spec.Artifact, error) {
	switch {
	case len(args) == 2 && u.artifact != "":
		return spec.Artifact{}, usage("the artifact is given twice: %s and --artifact %s", args[1], u.artifact)
	case len(args) == 2:
		return source(args[1]), nil
	case u.artifact != "":
		return source(u.artifact), nil
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
