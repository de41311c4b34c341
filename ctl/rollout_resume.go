package ctl

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
)

func newRolloutResume(s *session) *cobra.Command {
	var m mutation
	var takeOver, commands bool
	var notify []string
	cmd := &cobra.Command{
		Use:   "resume [ID] [FILE|URL...]",
		Short: "Go on with a rollout that is paused, held up, or that nobody drives",
		Long: "Goes on with a rollout: tells its driver to, or drives it from this machine when nobody\n" +
			"does. What failed or was out of reach until now counts no more, and hosts that were late\n" +
			"catch up under the same gates. Files that hosts still lack and that are not on this\n" +
			"machine are named after the id, and so are URLs that they fetch them from. With\n" +
			"--take-over it drives although somebody else does.",
		Example: example("gracectl rollout resume", "gracectl rollout resume r-0123 ./web-v2",
			"gracectl rollout resume r-0123 --take-over -m 'the laptop is in a train'"),
		Args: cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	f.BoolVar(&takeOver, "take-over", false, "drive it although somebody else does; needs -m")
	commandsFlag(cmd, &commands)
	f.StringArrayVar(&notify, "notify", nil, "URL that is told of what happens; may be repeated")
	s.deltaFlag(cmd)
	m.flags(cmd)
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if takeOver && m.reason == "" {
			return usage("--take-over goes with a reason: say with -m why the other driver is sent away")
		}
		return checkNotify(notify)
	}
	s.records(cmd)
	cmd.RunE = s.withFleet(func(ctx context.Context, args []string) error {
		for _, path := range args[min(1, len(args)):] {
			if err := s.bringFile(path); err != nil {
				return err
			}
		}
		sight, err := s.look(ctx, names(s.chosen), first(args))
		if err != nil {
			return err
		}
		d := drive{spec: sight.Spec, from: sight, command: rollout.Resume, takeOver: takeOver, reason: m.reason, requestID: m.id(), commands: commands, notify: notify}
		return s.resume(ctx, sight, d, &m)
	})
	return cmd
}

// commandsFlag is for those who may become the driver of a rollout that was made elsewhere.
func commandsFlag(cmd *cobra.Command, allowed *bool) {
	cmd.Flags().BoolVar(allowed, "allow-commands", false, "run what is recorded, whoever wrote it: programs of checks here, definitions on hosts")
}

// bringFile has a file ready, whether it is a program or travels with one.
func (s *session) bringFile(path string) error {
	a, err := source(path)
	switch {
	case err != nil:
		return err
	case a.URL != "":
		return s.stock.remote(a)
	}
	if _, err := s.stock.artifact(path); err != nil {
		return err
	}
	_, err = s.stock.data(path)
	return err
}

// resume goes on with a rollout, by its driver where it has one.
func (s *session) resume(ctx context.Context, sight *runner.Sight, d drive, m *mutation) error {
	driver := sight.Driven()
	switch {
	case m.dryRun:
		id := d.spec.ID()
		return s.wouldDo(id, nil, fmt.Sprintf("%s: rollout %s: would go on", d.spec.Service, id))
	case driver == nil || d.takeOver:
		d.idle = driver == nil
		return s.drive(ctx, d)
	}
	return s.remark(ctx, sight, &remark{
		mutation: *m, action: pb.ControlRolloutRequest_ACTION_RESUME, drives: true, command: rollout.Resume, allowed: d.commands, notify: d.notify,
		said: fmt.Sprintf("goes on, driven by %s", visible(driver.GetDriver())), next: goingOn,
	})
}

// undoRollout returns every host that a rollout touched to what it ran before.
func (s *session) undoRollout(ctx context.Context, service, id string, allowed bool, m *mutation) error {
	sight, err := s.look(ctx, names(s.chosen), id)
	switch {
	case err != nil:
		return err
	case sight.Spec.Service != service:
		return usage("rollout %s is of the service %s, not %s", sight.Spec.ID(), sight.Spec.Service, service)
	case m.dryRun:
		return s.planUndo(sight)
	}
	if sight.State.Phase != rollout.Ended {
		w := aborting()
		w.mutation, w.allowed = *m, allowed
		return s.remark(ctx, sight, w)
	}
	return s.drive(ctx, drive{spec: sight.Spec, from: sight, command: rollout.Abort, undoes: true, reason: m.reason, requestID: m.id(), commands: allowed})
}

// planUndo says which hosts would return.
func (s *session) planUndo(sight *runner.Sight) error {
	var hosts []object
	var lines []string
	for _, h := range sight.State.Hosts {
		if h.Progress == rollout.Upgraded || h.Progress == rollout.Upgrading || h.Progress == rollout.Soaking {
			lines = append(lines, fmt.Sprintf("%s: would return to generation %d", h.Name, sight.Reports[h.Name].GetPredecessor()))
			hosts = append(hosts, object{{"host", h.Name}, {"outcome", "would-change"}, {"toGeneration", sight.Reports[h.Name].GetPredecessor()}})
		}
	}
	id := sight.Spec.ID()
	if len(hosts) == 0 {
		return s.concludeResult(rolloutResult{outcome: "unchanged", id: id, text: fmt.Sprintf("%s: rollout %s: no host would return", sight.Spec.Service, id)})
	}
	text := fmt.Sprintf("%s: rollout %s: would take back %s", sight.Spec.Service, id, count(len(hosts), "host"))
	return s.wouldDo(id, hosts, strings.Join(append(lines, text), "\n"))
}
