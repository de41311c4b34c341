package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
)

// rolloutResult is what came of a command about a rollout.
type rolloutResult struct {
	code    int
	outcome string
	id      string
	hosts   []object
	rows    *table // the same for people
	text    string // in one line
	body    []string
	details []string // what to do
	figures object   // what was foreseen and what it took, for programs
}

// outcomeOrder is what to look at first in a report.
var outcomeOrder = []rollout.Outcome{
	rollout.OutcomeFailed, rollout.OutcomeUnreachable, rollout.OutcomeInProgress, rollout.OutcomeRolledBack, rollout.OutcomeSkipped,
	rollout.OutcomeNotStarted, rollout.OutcomeUpgraded, rollout.OutcomeUnchanged,
}

// countOutcomes is how many hosts came to what.
func countOutcomes(results []rollout.Result) map[string]int {
	hosts := map[string]int{}
	for _, r := range results {
		hosts[string(r.Outcome)]++
	}
	return hosts
}

func outcomesText(hosts map[string]int) string { return countsText(hosts, outcomeOrder) }

// countsText is counts in an order, without those that are zero.
func countsText[W ~string](counts map[string]int, order []W) string {
	var parts []string
	for _, word := range order {
		if n := counts[string(word)]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", word, n))
		}
	}
	return strings.Join(parts, ", ")
}

// concludeRollout reports a rollout that this run drove, or watched to its end.
func (s *session) concludeRollout(ctx context.Context, d drive, sc *scene, state rollout.State, err error) error {
	switch {
	case errors.Is(err, runner.ErrDetached), err != nil && ctx.Err() != nil:
	case err != nil:
		return err
	}
	r := s.resultOf(sc, &state)
	if d.command == rollout.Abort && r.code == ExitRolledBack {
		r.code, r.outcome = ExitDone, "rolled-back" // what was asked for
	}
	if ctx.Err() != nil && state.Phase != rollout.Ended {
		r.details = append([]string{whyEnded(ctx) + ": hosts in flight finish by themselves, nothing more begins"}, r.details...)
	}
	if d.predicted != nil && state.Ending == rollout.Completed {
		actual := sc.actual(time.Now())
		r.body = append(r.body, compared(*d.predicted, actual)...)
		taken := object{{"bytes", actual.Bytes}, {"seconds", actual.Took.Seconds()}}
		r.figures = object{{"foreseen", foreseenObject(*d.predicted)}, {"taken", taken}}
	}
	return s.concludeResult(r)
}

// resultOf sums a rollout up, with a line for every target.
func (s *session) resultOf(sc *scene, state *rollout.State) rolloutResult {
	verdict := state.Verdict()
	r := rolloutResult{code: int(verdict), outcome: verdictWord(verdict), id: sc.id, rows: &table{head: []string{"HOST", "WAVE", "OUTCOME", "GENERATION", "NOTE"}}}
	results := state.Results()
	for _, one := range results {
		r.hosts = append(r.hosts, resultObject(sc, one))
	}
	slices.SortStableFunc(results, func(a, b rollout.Result) int {
		return cmp.Compare(slices.Index(outcomeOrder, a.Outcome), slices.Index(outcomeOrder, b.Outcome))
	})
	for _, one := range results {
		r.rows.add(resultCells(sc, one)...)
	}
	within := "in"
	if state.Phase != rollout.Ended {
		within = "after"
	}
	r.text = fmt.Sprintf("%s: rollout %s %s: of %s %s, %s %s", sc.spec.Service, sc.id, endingText(state), count(len(results), "host"),
		outcomesText(countOutcomes(results)), within, span(time.Since(sc.begun)))
	if state.Why != "" {
		r.body = append(r.body, "why: "+visible(state.Why))
	}
	switch {
	case state.Phase != rollout.Ended:
		r.details = s.waysOf(sc.id, "resume", "status", "abort")
	case verdict == rollout.DoneButForSome:
		r.details = s.waysOf(sc.id, "resume")
	case verdict == rollout.Mixed:
		r.details = s.waysOf(sc.id, "status", "abort")
	}
	return r
}

func verdictWord(v rollout.Verdict) string {
	switch v {
	case rollout.Done:
		return "succeeded"
	case rollout.BackCleanly:
		return "rolled-back"
	case rollout.Mixed:
		return "mixed"
	case rollout.DoneButForSome:
		return "incomplete"
	case rollout.HeldBySomeone:
		return "held"
	case rollout.StillUnderWay:
		return "in-progress"
	}
	return "failed"
}

// endingText is how a rollout ended, or what it waits for.
func endingText(state *rollout.State) string {
	switch {
	case state.Ending == rollout.Fenced:
		return "goes on with another driver, " + visible(orDash(state.Holder))
	case state.Ending == rollout.Completed && state.Verdict() == rollout.NotDone:
		return "changed nothing"
	case state.Phase == rollout.Ended:
		return state.Ending.String()
	case state.Hold() != rollout.Free:
		return "is held up: " + state.Hold().String()
	}
	return "is not over"
}

func resultObject(sc *scene, one rollout.Result) object {
	p := sc.hosts[one.Host]
	return object{
		{"host", one.Host},
		{"outcome", string(one.Outcome)},
		{"service", sc.spec.Service},
		{"wave", one.Wave + 1},
		{"serves", string(one.Serves)},
		{"fromGeneration", p.report.GetPredecessor()},
		{"toGeneration", p.report.GetGeneration()},
		{"artifact", sc.spec.Releases[sc.spec.Plan.Targets[p.at].Release].Artifact},
		{"reason", one.Reason},
		{"message", one.Message},
		{"sentBytes", p.sent},
	}
}

func resultCells(sc *scene, one rollout.Result) []cell {
	p := sc.hosts[one.Host]
	generation := "-"
	switch {
	case one.Serves == rollout.ServesNew && p.report.GetGeneration() != 0:
		generation = fmt.Sprint(p.report.GetGeneration())
	case p.report.GetPredecessor() != 0 && one.Serves == rollout.ServesOld:
		generation = fmt.Sprint(p.report.GetPredecessor())
	}
	note := strings.TrimPrefix(because(one.Message, one.Reason), ": ")
	return []cell{
		{one.Host, ""},
		{fmt.Sprint(one.Wave + 1), ""},
		{string(one.Outcome), outcomeColor(string(one.Outcome))},
		{generation, ""},
		{strings.TrimSpace(note), ""},
	}
}

// waysOf are commands that go on with a rollout.
func (s *session) waysOf(id string, verbs ...string) []string {
	var out []string
	for i, verb := range verbs {
		head := "      "
		if i == 0 {
			head = "next: "
		}
		out = append(out, head+"gracectl rollout "+verb+" "+id+s.again())
	}
	return out
}

// again is the flags with which the next command reaches the same hosts.
func (s *session) again() string {
	if s.flags.inventory == "" {
		return ""
	}
	return " --inventory " + s.flags.inventory
}

// concludeResult reports it and ends the command with its code.
func (s *session) concludeResult(r rolloutResult) error {
	if s.structured() {
		s.finished = true
		if r.hosts == nil {
			r.hosts = []object{}
		}
		o := object{{"exitCode", r.code}, {"outcome", r.outcome}, {"id", r.id}, {"message", r.text}, {"hosts", r.hosts}}
		if err := s.recordOf("", "result", time.Now(), append(o, r.figures...)); err != nil {
			return err
		}
	} else if err := s.tellResult(r); err != nil {
		return err
	}
	if r.code == ExitDone {
		return nil
	}
	return &exitError{code: r.code}
}

// wouldDo reports a dry run that would change something.
func (s *session) wouldDo(id string, hosts []object, text string) error {
	return s.concludeResult(rolloutResult{code: ExitWouldChange, outcome: "would-change", id: id, hosts: hosts, text: text})
}

func (s *session) tellResult(r rolloutResult) error {
	if r.rows != nil {
		if err := s.printTable(r.rows); err != nil {
			return err
		}
	}
	for _, line := range append([]string{r.text}, r.body...) {
		s.say("%s", line)
	}
	for _, line := range r.details {
		s.note("%s", line)
	}
	return nil
}

// compared sets what was foreseen beside what came.
func compared(e rollout.Estimate, a rollout.Actual) []string {
	c := rollout.Compare(e, a)
	out := []string{
		fmt.Sprintf("time:  %s foreseen, %s taken", span(c.Took.Predicted), span(c.Took.Actual)),
		fmt.Sprintf("bytes: %s foreseen, %s moved", size(c.Bytes.Predicted), size(c.Bytes.Actual)),
	}
	for i, w := range c.Waves {
		if len(c.Waves) > 1 {
			out = append(out, fmt.Sprintf("wave %d: %s foreseen, %s taken", i+1, span(w.Predicted), span(w.Actual)))
		}
	}
	return out
}
