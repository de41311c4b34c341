package ctl

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/status"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
)

func newRolloutList(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "list [SERVICE]",
		Short: "Show the rollouts that hosts know of",
		Long: "Asks every host of the inventory, or those that are chosen, for the rollouts that have\n" +
			"its services and the last ones that had, and whether its upgrades are frozen. With a\n" +
			"coordinator it also shows what that has kept of rollouts that are over.",
		Example: example("gracectl rollout list --inventory fleet.yaml", "gracectl rollout list web -o json"),
		Args:    cobra.MaximumNArgs(1),
		RunE: s.withFleet(func(ctx context.Context, args []string) error {
			return s.listRollouts(ctx, first(args))
		}),
	}
}

func (s *session) listRollouts(ctx context.Context, service string) error {
	parts := s.looker().List(ctx, service, names(s.chosen))
	var t tally
	for _, p := range parts {
		t.add(p.Host, answered(p))
	}
	all := gather(parts)
	past, missing := s.history(ctx, service)
	var err error
	if s.structured() {
		err = s.print(append(object{{"rollouts", traceObjects(all)}, {"frozen", frozenObjects(parts)}}, historyMembers(past)...))
	} else {
		err = s.tellRollouts(all, parts)
		if err == nil && len(past) > 0 {
			err = s.tellHistory(past)
		}
	}
	if err != nil {
		return err
	}
	s.tellSilent(parts)
	if err := s.account(ctx, t); err != nil || missing == nil {
		return err
	}
	return missing
}

// tellSilent says why the first of those hosts that did not answer did not.
func (s *session) tellSilent(parts []runner.Parts) {
	if i := slices.IndexFunc(parts, func(p runner.Parts) bool { return p.Err != nil }); i >= 0 {
		s.note("%s: %s", parts[i].Host, visible(words(parts[i].Err)))
	}
}

// answered is whether a host answered, in a report's words.
func answered(p runner.Parts) string {
	if _, said := status.FromError(p.Err); !said {
		return "unreachable" // it was not even asked
	}
	return reply[int]{err: p.Err}.outcome()
}

func (s *session) tellRollouts(all []*traces, parts []runner.Parts) error {
	rows := &table{head: []string{"ROLLOUT", "SERVICE", "STATE", "HOSTS", "AGE", "WHO", "WHY"}}
	for _, t := range all {
		newest := t.newest()
		state := t.state(time.Now())
		rows.add(cell{visible(t.id), ""}, cell{visible(t.service), ""}, cell{state, traceColor(state)}, cell{t.progressText(), ""},
			cell{ago(newest.GetClaimTime(), time.Now()), ""}, cell{orDash(newest.GetActor()), ""}, cell{orDash(newest.GetComment()), ""})
	}
	if err := s.printTable(rows); err != nil {
		return err
	}
	for _, p := range parts {
		if p.Freeze != nil {
			s.say("%s: %s", p.Host, freezeText(p.Freeze))
		}
	}
	return nil
}

// state is a rollout in a word, by what its hosts say.
func (t *traces) state(now time.Time) string {
	newest := t.newest()
	if !t.open() {
		return orDash(newest.GetEnding())
	}
	driven := false
	var control *pb.RolloutControl
	for _, r := range t.reports {
		driven = driven || r.GetLeaseEndTime() != nil && r.GetLeaseEndTime().AsTime().After(now)
		if r.GetControl().GetRevision() > control.GetRevision() {
			control = r.GetControl()
		}
	}
	switch {
	case control.GetPaused():
		return "paused"
	case driven:
		return "driven"
	}
	return "waiting"
}

func traceColor(state string) color {
	switch state {
	case "completed":
		return colorGood
	case "undone", "refused", "unprepared":
		return colorBad
	}
	return colorWait
}

// progressText counts where a rollout's hosts are.
func (t *traces) progressText() string {
	counts := map[string]int{}
	for _, r := range t.reports {
		counts[strings.ToLower(strings.ReplaceAll(word(r.GetProgress()), "_", "-"))]++
	}
	return countsText(counts, []string{"failed", "stuck", "returning", "soaking", "upgrading", "claimed", "pushed", "rolled-back", "upgraded", "unchanged"})
}

func traceObjects(all []*traces) []object {
	out := []object{}
	for _, t := range all {
		newest := t.newest()
		hosts := []object{}
		for i, r := range t.reports {
			hosts = append(hosts, append(object{{"host", t.hosts[i]}}, message(r)...))
		}
		out = append(out, object{
			{"id", t.id},
			{"service", t.service},
			{"state", t.state(time.Now())},
			{"actor", newest.GetActor()},
			{"reason", newest.GetComment()},
			{"claimTime", timestamp(newest.GetClaimTime().AsTime())},
			{"hosts", hosts},
		})
	}
	return out
}

func frozenObjects(parts []runner.Parts) []object {
	out := []object{}
	for _, p := range parts {
		if p.Freeze != nil {
			out = append(out, append(object{{"host", p.Host}}, message(p.Freeze)...))
		}
	}
	return out
}
