package ctl

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/spec"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newAdopt(s *session) *cobra.Command {
	var m mutation
	var g signing
	var file, unit string
	var process int32
	cmd := &cobra.Command{
		Use:   "adopt -f FILE {--unit UNIT | --pid PID}",
		Short: "Take over a program that runs already, without a restart",
		Long: "Makes a running program the first generation of a service. The agent takes hold of the\n" +
			"listeners that the service file declares; the program notices nothing and serves on.\n" +
			"The next upgrade starts what the service file says beside it, and an abort is a change\n" +
			"of weights. Once one is promoted, the unit is stopped and disabled: the service is\n" +
			"graced's. Until then gracectl delete --keep-running gives the program back.",
		Example: example(
			"gracectl adopt -f web.yaml --unit nginx.service --dry-run   # look only",
			"gracectl adopt -f web.yaml --unit nginx.service && gracectl upgrade web --soak 10m",
			"gracectl adopt -f web.yaml --pid 812                        # that no unit starts again"),
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "service file; - is standard input")
	cmd.Flags().StringVar(&unit, "unit", "", "systemd service whose main process it is")
	cmd.Flags().Int32Var(&process, "pid", 0, "its process id")
	m.flags(cmd)
	g.flags(cmd)
	var f *spec.File
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) (err error) {
		switch byUnit, byPID := cmd.Flags().Changed("unit"), cmd.Flags().Changed("pid"); {
		case file == "":
			return usage("name the service file with -f")
		case byUnit == byPID:
			return usage("name the running program with --unit or --pid")
		case byUnit && unit == "":
			return usage("--unit is empty: name a systemd service")
		case byPID && process < 2:
			return usage("--pid %d is no program's", process)
		}
		f, err = s.readSpec(file)
		return err
	}
	s.withRecords(cmd, func(ctx context.Context, c *client, _ []string) error {
		request := &pb.AdoptServiceRequest{Program: &pb.AdoptServiceRequest_Unit{Unit: unit}}
		if unit == "" {
			request.Program = &pb.AdoptServiceRequest_Pid{Pid: process}
		}
		var err error
		if request.Signature, request.BreakGlass, err = g.bring(f.Artifact, m.reason); err != nil {
			return err
		}
		return s.adopt(ctx, c, f, request, &m)
	})
	return cmd
}

func (s *session) adopt(ctx context.Context, c *client, f *spec.File, request *pb.AdoptServiceRequest, m *mutation) error {
	ref, missing, err := s.supply(ctx, c, f.Artifact, m.dryRun)
	if err != nil {
		return err
	}
	files, lacks, err := s.supplyFiles(ctx, c, f.Files, m.dryRun)
	if err != nil {
		return err
	}
	request.Name, request.Spec = f.Name, f.ToProto(ref, files)
	request.ValidateOnly, request.RequestId, request.Reason = m.dryRun, m.id(), m.reason
	answer, err := c.services.AdoptService(ctx, request)
	switch {
	case (missing || lacks) && notThere(err):
		return s.concludeDry(f.Name, true, nil)
	case err != nil:
		return err
	case m.dryRun:
		s.note("would adopt %s", programText(answer.GetProgram()))
		s.warnDependents(answer.GetProgram())
		return s.concludeDry(f.Name, true, nil)
	}
	if err := s.follow(ctx, c, answer.GetUpgrade(), "promoted", false); err != nil {
		return err
	}
	s.note("adopted %s, which serves on", programText(answer.GetProgram()))
	s.warnDependents(answer.GetProgram())
	s.note("next: gracectl upgrade %s", f.Name)
	s.note("      gracectl delete %s --keep-running   gives it back", f.Name)
	return nil
}

// warnDependents says what systemd stops together with the program's unit.
func (s *session) warnDependents(x *pb.ExternalProgram) {
	if others := x.GetDependents(); len(others) > 0 {
		s.note("warning: %s will be stopped with %s, once that is replaced: see systemctl list-dependencies --reverse %s",
			visible(strings.Join(others, ", ")), visible(x.GetUnit()), visible(x.GetUnit()))
	}
}

// programText names an adopted program, such as "/usr/sbin/nginx (nginx.service)".
func programText(x *pb.ExternalProgram) string {
	if x.GetUnit() == "" {
		return fmt.Sprintf("%s (pid %d)", visible(x.GetPath()), x.GetPid())
	}
	return fmt.Sprintf("%s (pid %d, %s)", visible(x.GetPath()), x.GetPid(), visible(x.GetUnit()))
}
