package ctl

import (
	"time"

	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
)

// rolloutRecords writes every change as a record.
type rolloutRecords struct{ s *session }

func (r *rolloutRecords) change(sc *scene, c runner.Change) {
	if c.Host != "" {
		r.host(sc, c)
	}
	if sc.first || c.Before.Phase != c.State.Phase || c.Before.Wave != c.State.Wave || c.Event.Type != 0 && sc.hold != sc.was {
		_ = r.s.recordOf("", "rollout", c.At, append(rolloutObject(sc.spec, c.State), member{"why", c.State.Why}))
	}
}

// host writes where a host is, unless that was said.
func (r *rolloutRecords) host(sc *scene, c runner.Change) {
	p, h := sc.hosts[c.Host], sc.now(c)
	now := said{progressWord(h), h.Message, p.report.GetRevision(), p.report.GetWeight(), p.report.GetConnectionsLeft(), p.sent}
	switch {
	case now == p.said:
		return
	case c.Event.Type == 0 && c.At.Sub(p.told) < time.Second && p.sent < p.size:
		return // bytes are many
	}
	p.said, p.told = now, c.At
	_ = r.s.recordOf(c.Host, "host", c.At, hostObjectOf(h, p))
}

func (r *rolloutRecords) tick(*scene, time.Time) {}
func (r *rolloutRecords) note(text string)       { r.s.note("%s", text) }
func (r *rolloutRecords) clear()                 {}

// rolloutObject is a rollout as a whole, for programs.
func rolloutObject(spec rollout.Spec, s *rollout.State) object {
	return object{
		{"id", spec.ID()},
		{"service", spec.Service},
		{"action", string(spec.Action)},
		{"phase", s.Phase.String()},
		{"wave", s.Wave + 1},
		{"waves", len(spec.Plan.Waves)},
		{"targets", len(spec.Plan.Targets)},
		{"hold", s.Hold().String()},
		{"ending", s.Ending.String()},
	}
}

// hostObjectOf is a host in it.
func hostObjectOf(h rollout.HostState, a *player) object {
	o := object{
		{"wave", h.Wave + 1},
		{"progress", progressWord(h)},
		{"fromGeneration", a.report.GetPredecessor()},
		{"toGeneration", a.report.GetGeneration()},
		{"weight", a.report.GetWeight()},
		{"reason", h.Reason},
		{"message", h.Message},
		{"sentBytes", a.sent},
		{"sizeBytes", a.size},
	}
	if a.report != nil && a.report.ConnectionsLeft != nil {
		o = append(o, member{"connectionsLeft", a.report.GetConnectionsLeft()})
	}
	return o
}
