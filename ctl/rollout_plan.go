package ctl

import (
	"context"
	"fmt"

	"github.com/gracefleet/gracefleet/ctl/rollout"
)

// concludePlan prints what a rollout would do, and ends the dry run.
func (s *session) concludePlan(ctx context.Context, spec rollout.Spec, e rollout.Estimate, replies []reply[prospect]) error {
	var t tally
	rows := &table{head: []string{"HOST", "WAVE", "WOULD", "SEND", "CONNECTIONS", "NOTE"}}
	byHost := map[string]reply[prospect]{}
	for _, r := range replies {
		byHost[r.host.Name] = r
	}
	var hosts []object
	for i, target := range spec.Plan.Targets {
		r := byHost[target.Name]
		outcome := plannedOutcome(r)
		t.add(target.Name, outcome)
		var bytes int64
		if up := s.stock.digest(spec.Releases[target.Release].Artifact, false); up != nil && r.err == nil && !r.answer.facts.Has && !r.answer.facts.Unchanged {
			bytes = up.header.GetSizeBytes()
		}
		wave := spec.Plan.Wave(i)
		note := plannedNote(r)
		hosts = append(hosts, object{{"host", target.Name}, {"wave", wave + 1}, {"outcome", outcome}, {"bytes", bytes}, {"connections", r.answer.facts.Connections}, {"message", note}})
		rows.add(cell{target.Name, ""}, cell{fmt.Sprint(wave + 1), ""}, cell{outcome, outcomeColor(outcome)}, cell{size(bytes), ""}, cell{connectionsText(r), ""}, cell{note, ""})
	}
	r := rolloutResult{code: exitCode(ctx, s.account(ctx, t)), outcome: "unchanged", id: spec.ID(), hosts: hosts, rows: rows, body: planText(spec, e), figures: object{{"foreseen", foreseenObject(e)}}}
	r.text = fmt.Sprintf("%s: would change nothing", spec.Service)
	if r.code != ExitDone {
		r.outcome, r.text = "failed", fmt.Sprintf("%s: no host that answers would take part", spec.Service)
	}
	if len(t.changing) > 0 {
		r.outcome, r.text = "would-change", fmt.Sprintf("%s: would %s %d of %s", spec.Service, spec.Action, len(t.changing), count(t.hosts, "host"))
	}
	if len(t.changing) > 0 && len(t.held) == 0 {
		r.code = ExitWouldChange // what is out of reach has a budget of its own
	}
	return s.concludeResult(r)
}

func plannedOutcome(r reply[prospect]) string {
	switch {
	case r.err != nil:
		return r.outcome()
	case heldElsewhere(r.answer.refusal):
		return "held"
	case r.answer.refusal != nil:
		return "failed"
	case r.answer.facts.Unchanged:
		return "unchanged"
	}
	return "would-change"
}

func plannedNote(r reply[prospect]) string {
	switch {
	case r.err != nil:
		return visible(words(r.err))
	case r.answer.refusal != nil:
		return visible(words(r.answer.refusal))
	}
	return ""
}

func connectionsText(r reply[prospect]) string {
	if r.err != nil || r.answer.facts.Connections < 0 {
		return "-"
	}
	return fmt.Sprint(r.answer.facts.Connections)
}

// planText is the plan as a whole: its waves and what they take.
func planText(spec rollout.Spec, e rollout.Estimate) []string {
	first := fmt.Sprintf("at most %s to send, %s at risk, about %s", size(e.Bytes), count(e.AtRisk, "connection"), span(e.Took))
	if e.Drained > e.Took {
		first += fmt.Sprintf(", %s with what the old generations take to drain", span(e.Drained))
	}
	out := []string{first}
	if e.Uncounted > 0 {
		out = append(out, fmt.Sprintf("connections of %s cannot be counted", count(e.Uncounted, "host")))
	}
	if e.Guessed > 0 {
		others := ""
		if e.Drained > e.Took {
			others = ": the others' stand for theirs"
		}
		out = append(out, fmt.Sprintf("of %s no past drain is known%s", count(e.Guessed, "host"), others))
	}
	for i, w := range e.Waves {
		out = append(out, fmt.Sprintf("%s: %s, %s at risk, about %s", waveName(spec, i), count(w.Hosts, "host"), count(w.AtRisk, "connection"), span(w.Took)))
	}
	return out
}

// foreseenObject is an estimate for programs.
func foreseenObject(e rollout.Estimate) object {
	return object{
		{"bytes", e.Bytes},
		{"connectionsAtRisk", e.AtRisk},
		{"hostsUncounted", e.Uncounted},
		{"seconds", e.Took.Seconds()},
		{"secondsWithDrains", e.Drained.Seconds()},
		{"hostsWithoutDrains", e.Guessed},
	}
}
