package supervisor

import (
	"fmt"
	"slices"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// endedShown is how many ended generations a status lists.
const endedShown = 3

// publish makes the owner's state visible to readers, once it is durable.
func (o *owner) publish() {
	s := o.status()
	o.tell(func() {
		o.snapshot.Store(&s)
		o.changed.wake()
	})
}

func (o *owner) status() Status {
	st := Status{
		Name: o.name, Spec: o.rec.Spec, State: o.serviceState(), ETag: service.ETag(o.rec.Spec),
		Actor: o.rec.Actor, RecordedAt: o.rec.RecordedAt, Warnings: o.warnings(),
		Generations: o.generations(endedShown), PIDFile: o.host.PIDFile(o.name),
		RequiresSignature: o.sup.signatures.Load().Required(o.name), Floor: o.rec.Floor,
	}
	if a := o.rec.State.Active(); a != nil {
		st.Active = a.Number
		if spec, ok := o.rec.spec(a.Number); ok {
			st.Pending = service.Diff(spec, o.rec.Spec)
		}
	}
	if n := len(o.rec.Upgrades); n > 0 {
		u := o.showUpgrade(&o.rec.Upgrades[n-1])
		st.Upgrade = &u
	}
	return st
}

func (o *owner) serviceState() ServiceState {
	switch {
	case o.rec.State.Halted:
		return Halted
	case o.rec.State.Live() == 0:
		return Down
	default:
		return Running
	}
}

func (o *owner) warnings() []string {
	var out []string
	if o.unsaved {
		out = append(out, "the record on disk is out of date, or may not survive a power cut: it could not be written")
	}
	for _, g := range o.rec.State.Generations {
		if v := o.live[g.Number]; v != nil && g.State == lifecycle.Active && !g.Policy.Alone {
			out = append(out, ownListeners(g.Number, v.own)...)
			for _, path := range v.locks {
				out = append(out, fmt.Sprintf("generation %d has a lock on %s, which the next one cannot take beside it: put the file into {generation_dir}, or set upgrade.overlap: none", g.Number, path))
			}
		}
		switch {
		case g.State == lifecycle.Standby && !g.Ready:
			out = append(out, fmt.Sprintf("standby generation %d is starting again: an abort is not instant", g.Number))
		case g.State == lifecycle.Active && g.Refusing:
			out = append(out, fmt.Sprintf("generation %d is down: connections are refused", g.Number))
		case g.State == lifecycle.Active && !g.Running && g.RestartAt != 0:
			out = append(out, fmt.Sprintf("generation %d is down and starts again shortly: %s", g.Number, g.Message))
		}
	}
	return out
}

func ownListeners(generation int, own []service.Address) []string {
	var out []string
	for _, a := range own {
		out = append(out, fmt.Sprintf("generation %d listens on %s by itself, where the next one cannot beside it: declare it as a socket, or set upgrade.overlap: none", generation, a))
	}
	return out
}

// generations lists the living and the last few that ended, newest first; a
// negative number lists all.
func (o *owner) generations(ended int) []Generation {
	var out []Generation
	weights := o.rec.State.Weights()
	for i := len(o.rec.Generations) - 1; i >= 0; i-- {
		p := &o.rec.Generations[i]
		g := o.rec.State.Generation(p.Number)
		if p.State.Ended() {
			if ended == 0 {
				continue
			}
			ended--
		}
		out = append(out, o.show(p, g, weights))
	}
	return out
}

func (o *owner) show(p *pastGeneration, g *lifecycle.Generation, weights map[int]int) Generation {
	out := Generation{
		Number: p.Number, State: p.State, Artifact: p.Artifact, Version: p.Version, Restarts: p.Restarts,
		Exit: p.Exit, CreatedAt: p.CreatedAt, ReadyAt: p.ReadyAt, EndedAt: p.EndedAt, RollbackOf: p.RollbackOf,
		Reason: p.Reason, Message: p.Message, Good: o.good(p), Release: p.Release,
	}
	if p.External != nil && !p.External.Replaced {
		out.External = p.External
	}
	if p.Spec != nil {
		out.Spec = *p.Spec
	}
	if g != nil {
		out.Slot = g.Slot
	}
	if g == nil || g.State.Ended() {
		if p.Forced > 0 {
			out.Drain = &Drain{Phase: lifecycle.Killed, Forced: p.Forced}
		}
		return out
	}
	out.Weight = weights[g.Slot]
	v := o.live[p.Number]
	if v != nil {
		out.PID, out.StatusText = v.pid, v.status
	}
	if g.State == lifecycle.Draining {
		out.Drain = &Drain{Phase: g.Phase, Deadline: o.when(g.Deadline), Forced: p.Forced}
		if g.Phase == lifecycle.Quiescing {
			out.Drain.Deadline = time.Time{}
		}
		if v != nil && v.count != nil {
			v.count.fill(out.Drain)
			out.Connections = out.Drain.Connections
		}
	}
	return out
}

func (c *Count) fill(d *Drain) {
	d.Connections, d.Active, d.Idle = known(c.Open), known(c.Active), known(c.Idle)
	d.Stalled, d.Closing = known(c.Stalled), known(c.Closing)
	if c.Bytes >= 0 {
		d.Bytes = &c.Bytes
	}
}

func known(n int) *int {
	if n < 0 {
		return nil
	}
	return &n
}

func (o *owner) showUpgrade(p *pastUpgrade) Upgrade {
	u := Upgrade{
		ID: p.ID, Service: o.name, State: p.State, Kind: p.Kind, From: p.From, To: p.To,
		Artifact: p.Artifact, Version: p.Version, Steps: p.Plan.Steps, Step: p.Step, StepSaw: slices.Clone(p.StepSaw),
		Reason: p.Reason, Message: p.Message, Errno: p.Errno, LastLines: p.LastLines, Actor: p.Actor,
		Comment: p.Comment, RequestID: p.RequestID, Rollout: p.Rollout, CreatedAt: p.CreatedAt, ReadyAt: p.ReadyAt, EndedAt: p.EndedAt,
		RollbackOf: p.Target, Warnings: slices.Clone(p.Warnings), Release: p.Release, BreakGlass: p.BreakGlass,
	}
	if !p.State.Ended() {
		u.Waiting = p.Waiting()
		u.PhaseEnd = o.when(p.PhaseEnd)
	}
	return u
}

func (o *owner) endTime(s lifecycle.GenerationState) time.Time {
	if s.Ended() {
		return o.wall()
	}
	return time.Time{}
}
