package ctl

import (
	"slices"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
)

// scene is a rollout as it is shown. One goroutine has it.
type scene struct {
	spec  rollout.Spec
	id    string
	state *rollout.State // nil before the first change
	begun time.Time
	hosts map[string]*player
	waves []stretch
	first bool // the last change was the first one
	// hold is what holds the rollout up, was what did before the last change.
	hold, was rollout.Hold
}

// player is what is known of a host beside its state.
type player struct {
	at         int // in the state's hosts
	report     *pb.RolloutReport
	sent, size int64
	told       time.Time // when something was last said of it
	said       said
}

// said is what was said of a host.
type said struct {
	progress, message string
	revision          int64
	weight, left      int32
	sent              int64
}

// stretch is from when to when something lasted.
type stretch struct{ begin, end time.Time }

func newScene(spec rollout.Spec) *scene {
	sc := &scene{spec: spec, id: spec.ID(), begun: time.Now(), hosts: map[string]*player{}, waves: make([]stretch, len(spec.Plan.Waves))}
	for i, h := range rollout.New(spec).Hosts {
		sc.hosts[h.Name] = &player{at: i}
	}
	return sc
}

// before and now are the state of a host around a change.
func (sc *scene) before(c runner.Change) rollout.HostState {
	return c.Before.Hosts[sc.hosts[c.Host].at]
}

func (sc *scene) now(c runner.Change) rollout.HostState { return c.State.Hosts[sc.hosts[c.Host].at] }

// take takes a change in.
func (sc *scene) take(c runner.Change) {
	sc.first, sc.state = sc.state == nil, c.State
	if c.Host != "" {
		h := sc.hosts[c.Host]
		if c.Report != nil && c.Report.GetRevision() >= h.report.GetRevision() {
			h.report = c.Report
		}
		if c.Size > 0 {
			h.sent, h.size = c.Sent, c.Size
		}
	}
	if c.Event.Type == 0 {
		return // bytes alone
	}
	sc.was, sc.hold = sc.hold, c.State.Hold()
	if c.State.Phase < rollout.Rolling {
		return
	}
	w := c.State.Wave
	if c.State.Phase == rollout.Rolling && sc.waves[w].begin.IsZero() {
		sc.waves[w].begin = c.At
	}
	if over := c.Before.Wave; c.Before.Phase == rollout.Rolling && (c.State.Phase != rollout.Rolling || w != over) {
		sc.waves[over].end = c.At
	}
}

// targets are the states of the targets, in the order of the plan.
func (sc *scene) targets() []rollout.HostState {
	if sc.state == nil {
		return nil
	}
	return sc.state.Hosts[:len(sc.spec.Plan.Targets)]
}

// actual is what it took.
func (sc *scene) actual(now time.Time) rollout.Actual {
	a := rollout.Actual{Took: now.Sub(sc.begun)}
	for _, h := range sc.hosts {
		a.Bytes += h.sent
	}
	for _, w := range sc.waves {
		if w.begin.IsZero() || w.end.IsZero() {
			break
		}
		a.Waves = append(a.Waves, w.end.Sub(w.begin))
	}
	return a
}

// left is how long the rest may take, by what the hosts so far did; 0 when nothing is
// known of that.
func (sc *scene) left(now time.Time) time.Duration {
	first := slices.IndexFunc(sc.waves, func(w stretch) bool { return !w.begin.IsZero() })
	if first < 0 {
		return 0
	}
	done, rest := 0, 0
	for _, h := range sc.targets() {
		switch progressWord(h) {
		case "upgraded", "rolled-back", "failed":
			done++
		case "unchanged", "skipped", "unreachable", "held":
		default:
			rest++
		}
	}
	if done == 0 {
		return 0
	}
	return now.Sub(sc.waves[first].begin) * time.Duration(rest) / time.Duration(done)
}

// progressWord is where a host is, for people.
func progressWord(h rollout.HostState) string {
	switch {
	case h.Lost && (h.Progress != rollout.Upgraded && h.Progress != rollout.Unchanged && h.Progress != rollout.RolledBack && h.Progress != rollout.Failed):
		return "unreachable"
	case h.Progress == rollout.Elsewhere:
		return "held"
	case h.Progress == rollout.Claimed:
		return "fetching"
	case h.Progress == rollout.Pushed:
		return "ready"
	}
	return h.Progress.String()
}
