package ctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
)

func newRolloutStatus(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "status [ID]",
		Short:   "Show where a rollout is, and each of its hosts",
		Long:    "Asks the hosts and shows where a rollout is. It ends with 0 whatever the rollout came to:\nthe exit code of the rollout is that of gracectl rollout watch.",
		Example: example("gracectl rollout status", "gracectl rollout status r-0123 -o json | jq '.hosts[] | select(.outcome == \"failed\")'"),
		Args:    cobra.MaximumNArgs(1),
		RunE: s.withFleet(func(ctx context.Context, args []string) error {
			sight, err := s.look(ctx, names(s.chosen), first(args))
			if err != nil {
				return err
			}
			return s.tellSight(sight)
		}),
	}
}

func (s *session) tellSight(sight *runner.Sight) error {
	sc := sceneOf(sight)
	r := s.resultOf(sc, &sight.State)
	if sight.Driven() != nil && sight.State.Phase != rollout.Ended {
		r.details = s.waysOf(sc.id, "watch", "pause", "abort")
	}
	if s.structured() {
		request := sight.Spec.Request
		o := append(rolloutObject(sight.Spec, &sight.State), member{"outcome", r.outcome}, member{"actor", askedBy(sight)}, member{"reason", request.Reason},
			member{"driver", sight.Driven().GetDriver()}, member{"why", sight.State.Why}, member{"hosts", r.hosts})
		return s.print(o)
	}
	colors := s.colored(s.stdio.Out)
	s.say("%s", sightHead(sight))
	for _, line := range rolloutTree(sc, time.Now(), len(sc.spec.Plan.Waves)+3, colors)[1:] {
		s.say("%s", line)
	}
	s.say("")
	if err := s.printTable(r.rows); err != nil {
		return err
	}
	for _, line := range r.details {
		s.note("%s", line)
	}
	return nil
}

// sightHead says whose rollout it is, why, and who drives it.
func sightHead(sight *runner.Sight) string {
	spec, state := sight.Spec, &sight.State
	parts := []string{fmt.Sprintf("%s: %s %s of %s by %s", spec.Service, spec.Action, spec.ID(), count(len(spec.Plan.Targets), "host"), visible(askedBy(sight)))}
	if spec.Request.Reason != "" {
		parts = append(parts, visible(spec.Request.Reason))
	}
	switch driver := sight.Driven(); {
	case state.Phase == rollout.Ended:
		parts = append(parts, state.Ending.String())
	case driver != nil:
		parts = append(parts, "driven by "+visible(driver.GetDriver()))
	default:
		parts = append(parts, "nobody drives it")
	}
	return strings.Join(parts, ": ")
}

// askedBy is who asked for a rollout, as agents know callers, else as they named
// themselves.
func askedBy(sight *runner.Sight) string {
	for _, h := range sight.State.Hosts {
		if actor := sight.Reports[h.Name].GetActor(); actor != "" {
			return actor
		}
	}
	return sight.Spec.Request.Actor
}

func newRolloutWatch(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch [ID]",
		Short: "Watch a rollout until it is over, and end with its exit code",
		Long: "Asks the hosts every few seconds, shows what changes, and ends with the rollout's exit\n" +
			"code; with 8 when nobody drives it any more.",
		Example: example("gracectl rollout watch", "gracectl rollout watch r-0123 -o json"),
		Args:    cobra.MaximumNArgs(1),
	}
	s.records(cmd)
	cmd.RunE = s.withFleet(func(ctx context.Context, args []string) error {
		t, err := s.find(ctx, names(s.chosen), first(args))
		if err != nil {
			return err
		}
		silent := 0
		sight, err := s.watchRollout(ctx, t.service, t.id, func(sight *runner.Sight) bool {
			if sight.Driven() != nil {
				silent = 0
				return false
			}
			silent++
			return silent > 1 // not merely between two drivers
		})
		if err != nil {
			return err
		}
		return s.concludeRollout(ctx, drive{spec: sight.Spec}, sceneOf(sight), sight.State, nil)
	})
	return cmd
}
