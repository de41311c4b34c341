package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/preflight"
	"github.com/gracefleet/gracefleet/ctl/internal/scratch"
	"github.com/gracefleet/gracefleet/ctl/internal/spec"
)

const roomArgument = "preflight-room"

func newPreflight(s *session) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "preflight -f FILE",
		Short: "Try a program here, in a room of its own, and report every trap",
		Long: "Starts the program of a service file twice beside itself and ends it once, on this\n" +
			"machine, with an agent of its own: in namespaces for its network and processes, and\n" +
			"with covers over /run, /var/lib, /var/log, /var/cache, /var/spool and /var/tmp: what it\n" +
			"writes there is gone afterwards, what it writes elsewhere is written. What would hurt\n" +
			"an upgrade is reported. Exit code 1 when there is a problem.",
		Example: example("gracectl preflight -f web.yaml", "gracectl preflight -f web.yaml -o json"),
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "service file")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if file == "" {
			return usage("name the service file with -f")
		}
		f, err := s.readSpec(file)
		if err == nil && (f.Artifact.URL != "" || strings.HasPrefix(f.Artifact.Ref, "sha256:")) {
			return usage("%s names an artifact by its digest or URL: preflight needs the file itself, or host:/PATH", file)
		}
		return err
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return s.preflight(cmd.Context(), file) }
	return cmd
}

// preflight runs this program again in a room, which does the rest.
func (s *session) preflight(ctx context.Context, file string) error {
	dir, err := os.MkdirTemp("/tmp", "gfp")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	programs, err := scratch.Find(ctx, dir, func(text string) { s.note("%s", text) })
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	room := exec.CommandContext(ctx, self, roomArgument, dir, programs.Graced, "-f", file, "-o", s.output)
	room.Stdin, room.Stdout, room.Stderr = os.Stdin, s.stdio.Out, s.stdio.Err
	// Ctrl-C reaches the room as well: it gets time to end in order.
	room.Cancel = func() error { return room.Process.Signal(os.Interrupt) }
	room.WaitDelay = roomEnd
	if err := preflight.Enter(room); err != nil {
		return err
	}
	// The room ends with the thread that made it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = room.Run()
	var status *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted; nothing is left of the trial")
	case errors.As(err, &status) && status.ExitCode() > 0:
		return &exitError{status.ExitCode(), nil} // the room has said why
	case err != nil:
		return fmt.Errorf("make a room for the trial: %w: it takes root, or user namespaces", err)
	}
	return nil
}

// roomEnd is how long a room may take to end.
const roomEnd = 10 * time.Second

// newPreflightRoom is the same program inside the room.
func newPreflightRoom(s *session) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: roomArgument, Hidden: true, Args: cobra.ExactArgs(2), Short: "The inside of a preflight",
		Example: example("gracectl preflight -f web.yaml"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := s.readSpec(file)
			if err != nil {
				return err
			}
			report, err := s.trial(cmd.Context(), f, args[0], args[1])
			if err != nil {
				return err
			}
			return s.reported(report)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "service file")
	return cmd
}

func (s *session) trial(ctx context.Context, f *spec.File, dir, graced string) (report *preflight.Report, err error) {
	covers, memory := filepath.Join(dir, "c"), scratch.RuntimeDir(dir)
	if err := errors.Join(os.Mkdir(covers, 0o755), os.Mkdir(memory, 0o711)); err != nil {
		return nil, err
	}
	uncovered, err := preflight.Furnish(covers, memory, hosts(f))
	if err != nil {
		return nil, err
	}
	if len(uncovered) > 0 {
		s.note("warning: what the program writes to %s reaches this machine", strings.Join(uncovered, ", "))
	}
	agent, err := scratch.Start(ctx, scratch.Programs{Graced: graced}, dir)
	if agent != nil {
		defer func() {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), roomEnd)
			defer cancel()
			err = errors.Join(err, agent.End(end))
		}()
	}
	if err != nil {
		return nil, err
	}
	s.to = &destination{agent: "unix:" + agent.Socket}
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	ref, _, err := s.supply(ctx, c, f.Artifact, false)
	if err != nil {
		return nil, err
	}
	files, _, err := s.supplyFiles(ctx, c, f.Files, false)
	if err != nil {
		return nil, err
	}
	return preflight.Trial(ctx, preflight.Agent{Conn: c.conn, Log: agent.Log}, f.Name, f.ToProto(ref, files), func(text string) { s.note("%s", text) })
}

// hosts are the addresses that a service listens on, without ports.
func hosts(f *spec.File) []string {
	var out []string
	for _, k := range f.Sockets {
		_, rest, _ := strings.Cut(k.Listen, "://")
		if a, err := netip.ParseAddrPort(rest); err == nil {
			out = append(out, a.Addr().String())
		}
	}
	return out
}

func (s *session) reported(r *preflight.Report) error {
	verdict := r.Service + " fits"
	if !r.Fit() {
		verdict = r.Service + " does not fit as it is declared"
	}
	if s.structured() {
		findings := []object{}
		for _, f := range r.Findings {
			findings = append(findings, object{{"check", f.Check}, {"result", string(f.Result)}, {"detail", f.Detail}, {"remedy", f.Remedy}})
		}
		if err := s.print(object{{"service", r.Service}, {"fit", r.Fit()}, {"findings", findings}}); err != nil {
			return err
		}
	} else {
		t := &table{head: []string{"CHECK", "RESULT", "DETAIL"}}
		for _, f := range r.Findings {
			t.add(cell{f.Check, ""}, cell{string(f.Result), resultColor(f.Result)}, cell{visible(f.Detail), ""})
		}
		if err := s.printTable(t); err != nil {
			return err
		}
		for _, f := range r.Findings {
			if f.Remedy != "" {
				s.say("%s: %s", f.Check, f.Remedy)
			}
		}
	}
	if !r.Fit() {
		return &exitError{ExitError, errors.New(verdict)}
	}
	s.note("%s", verdict)
	return nil
}

func resultColor(r preflight.Result) color {
	switch r {
	case preflight.Problem:
		return colorBad
	case preflight.Warning:
		return colorWait
	case preflight.OK:
		return colorGood
	}
	return colorDim
}
