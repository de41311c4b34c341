package ctl

import (
	"context"
	"time"

	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// watchRollout looks at a rollout again and again, and shows it, until it is over or
// enough says so.
func (s *session) watchRollout(ctx context.Context, service, id string, enough func(*runner.Sight) bool) (*runner.Sight, error) {
	hosts, looker := names(s.fleet()), s.looker()
	seen := time.Now()
	var show *show
	var last *runner.Sight
	defer func() {
		if show != nil {
			show.end(nil)
		}
	}()
	for {
		sight, err := looker.Look(ctx, service, id, hosts)
		switch {
		case ctx.Err() != nil && last != nil:
			return last, nil
		case err != nil && last != nil && time.Since(seen) < patience:
			_ = pause.For(ctx, watchEvery) // all hosts are away at the moment, or we are
			continue
		case err != nil:
			return nil, err
		}
		seen = time.Now()
		if show == nil {
			show = s.startShow(newScene(sight.Spec), nil)
			first := rollout.New(sight.Spec)
			last = &runner.Sight{State: first}
		}
		for _, c := range differences(last, sight) {
			show.observe(c)
		}
		last = sight
		if sight.State.Phase == rollout.Ended || enough(sight) {
			return sight, nil
		}
		_ = pause.For(ctx, lookInterval(len(sight.Spec.Plan.Targets)))
	}
}

// watchEvery is the least time between two looks at a rollout.
const watchEvery = 2 * time.Second

// lookInterval is the time between two looks: they cost a connection to each host.
func lookInterval(hosts int) time.Duration {
	return min(max(watchEvery, time.Duration(hosts)*10*time.Millisecond), 30*time.Second)
}

// differences are the changes from one look to the next, as a driver would tell them:
// with the first of them the rollout as a whole is as it is now.
func differences(before, now *runner.Sight) []runner.Change {
	at := time.Now()
	mid := now.State.Clone()
	mid.Hosts = before.State.Hosts
	out := []runner.Change{{At: at, Event: rollout.Event{Type: rollout.Tick}, Before: &before.State, State: &now.State}}
	for i, h := range now.State.Hosts {
		old, report := before.State.Hosts[i], now.Reports[h.Name]
		if h.Progress == old.Progress && h.Lost == old.Lost && report.GetRevision() == before.Reports[h.Name].GetRevision() {
			continue
		}
		out = append(out, runner.Change{
			At: at, Host: h.Name, Event: rollout.Event{Type: rollout.Reported, Host: h.Name, Progress: h.Progress},
			Report: report, Before: &mid, State: &now.State,
		})
	}
	return out
}

// sceneOf is a rollout that was looked at.
func sceneOf(sight *runner.Sight) *scene {
	sc := newScene(sight.Spec)
	sc.state = &sight.State
	sc.hold = sight.State.Hold()
	for name, report := range sight.Reports {
		if p := sc.hosts[name]; p != nil {
			p.report = report
		}
		if begin := report.GetClaimTime(); begin != nil && begin.AsTime().Before(sc.begun) {
			sc.begun = begin.AsTime()
		}
	}
	return sc
}
