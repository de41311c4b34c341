package ctl

import (
	"context"
	"fmt"
	"slices"
	"strings"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
)

// traces is what hosts have of one rollout.
type traces struct {
	service, id string
	reports     []*pb.RolloutReport
	hosts       []string // of the reports
}

// open says whether a host is still claimed for it.
func (t *traces) open() bool {
	return slices.ContainsFunc(t.reports, func(r *pb.RolloutReport) bool { return r.GetReleaseTime() == nil })
}

// newest is the report with the latest claim.
func (t *traces) newest() *pb.RolloutReport {
	return slices.MaxFunc(t.reports, func(a, b *pb.RolloutReport) int { return a.GetClaimTime().AsTime().Compare(b.GetClaimTime().AsTime()) })
}

// gather groups what hosts say by rollout, the latest first.
func gather(parts []runner.Parts) []*traces {
	byID := map[string]*traces{}
	var all []*traces
	for _, p := range parts {
		for _, r := range p.Reports {
			key := r.GetService() + "\x00" + r.GetRolloutId()
			t := byID[key]
			if t == nil {
				t = &traces{service: r.GetService(), id: r.GetRolloutId()}
				byID[key] = t
				all = append(all, t)
			}
			t.reports, t.hosts = append(t.reports, r), append(t.hosts, p.Host)
		}
	}
	slices.SortStableFunc(all, func(a, b *traces) int {
		return b.newest().GetClaimTime().AsTime().Compare(a.newest().GetClaimTime().AsTime())
	})
	return all
}

// find is the rollout that an argument means: an id or the begin of it, a service, of
// which it is the open one or else the last, or nothing, for the only open one.
func (s *session) find(ctx context.Context, hosts []string, text string) (*traces, error) {
	parts := s.looker().List(ctx, "", hosts)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	all := gather(parts)
	matches := slices.DeleteFunc(slices.Clone(all), func(t *traces) bool { return !t.meant(text) })
	if !strings.HasPrefix(text, "r-") {
		open := slices.DeleteFunc(slices.Clone(matches), func(t *traces) bool { return !t.open() })
		matches = matches[:min(1, len(matches))]
		if len(open) > 0 {
			matches = open
		}
	}
	switch {
	case len(matches) == 1:
		return matches[0], nil
	case len(matches) > 1:
		return nil, usage("%s: which one? %s", rolloutText(text), few(idsOf(matches)))
	}
	return nil, s.notFound(text, parts, all)
}

// meant says whether a text means the rollout. Without one only those that are open are.
func (t *traces) meant(text string) bool {
	if text == "" {
		return t.open()
	}
	return t.service == text || strings.HasPrefix(t.id, text) || strings.HasPrefix(t.id, "r-"+text)
}

func rolloutText(text string) string {
	if text == "" {
		return "several rollouts are open"
	}
	return "several rollouts are meant by " + text
}

func idsOf(all []*traces) []string {
	out := make([]string, len(all))
	for i, t := range all {
		out[i] = visible(t.id)
	}
	return out
}

// notFound says what there is instead.
func (s *session) notFound(text string, parts []runner.Parts, all []*traces) error {
	silent := 0
	for _, p := range parts {
		if p.Err != nil {
			silent++
		}
	}
	what := "no rollout is open"
	if text != "" {
		what = "no host that answers knows a rollout " + text
	}
	switch {
	case silent > 0 && silent == len(parts):
		return &exitError{ExitUnreachable, fmt.Errorf("none of %s answers: %w", count(len(parts), "host"), parts[0].Err)}
	case silent > 0:
		what += fmt.Sprintf("; of %s %d did not answer", count(len(parts), "host"), silent)
	}
	if len(all) == 0 {
		return fmt.Errorf("%s", what)
	}
	return fmt.Errorf("%s: the last one is %s of %s, see gracectl rollout list", what, visible(all[0].id), visible(all[0].service))
}

// look finds a rollout and what became of its hosts.
func (s *session) look(ctx context.Context, hosts []string, text string) (*runner.Sight, error) {
	t, err := s.find(ctx, hosts, text)
	if err != nil {
		return nil, err
	}
	return s.looker().Look(ctx, t.service, t.id, hosts)
}

// hostsOfRollout are the hosts that a set such as @failed:ROLLOUT means. They are asked
// once in a run.
func (s *session) hostsOfRollout(ctx context.Context, word, id string) ([]string, error) {
	key := word + ":" + id
	if meant, known := s.sets[key]; known {
		return meant, nil
	}
	meant, err := s.becameOf(ctx, word, id)
	if err == nil {
		if s.sets == nil {
			s.sets = map[string][]string{}
		}
		s.sets[key] = meant
	}
	return meant, err
}

// becameOf asks the hosts what became of them in a rollout.
func (s *session) becameOf(ctx context.Context, word, id string) ([]string, error) {
	wanted := rollout.Outcome(word)
	switch wanted {
	case rollout.OutcomeFailed, rollout.OutcomeUnreachable, rollout.OutcomeNotStarted, rollout.OutcomeRolledBack, rollout.OutcomeSkipped, rollout.OutcomeUpgraded:
	default:
		return nil, fmt.Errorf("hosts of a rollout are @failed:, @unreachable:, @not-started:, @rolled-back:, @skipped: or @upgraded: and its id")
	}
	// Every host of the inventory is asked, whichever are chosen.
	sight, err := s.look(ctx, names(s.known.Hosts), id)
	if err != nil {
		return nil, err
	}
	var meant []string
	for _, r := range sight.State.Results() {
		outcome := r.Outcome
		if outcome == rollout.OutcomeSkipped && sight.Reports[r.Host] == nil {
			outcome = rollout.OutcomeUnreachable // as it was then: it was never claimed
		}
		if outcome == wanted {
			meant = append(meant, r.Host)
		}
	}
	if len(meant) == 0 {
		return nil, fmt.Errorf("rollout %s has no such host", sight.Spec.ID())
	}
	return meant, nil
}
