package supervisor

import (
	"slices"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// failureLines is how much of a turned-away candidate's output is kept.
const failureLines = 20

// clone copies what become may have to take back.
func (r *record) clone() record {
	c := *r
	c.State = r.State.Clone()
	c.Order = r.Order.Clone()
	c.Generations = slices.Clone(r.Generations)
	c.Upgrades = slices.Clone(r.Upgrades)
	c.Requests = slices.Clone(r.Requests)
	return c
}

// chronicle writes into the history what changed from one state to the next, and
// returns the events to tell about it once that is durable.
func (o *owner) chronicle(before, after lifecycle.State) []Event {
	var news []Event
	if b := before.Upgrade; b != nil && !b.State.Ended() && after.Upgrade != nil && after.Upgrade.ID != b.ID {
		news = append(news, o.rebooted(*b)...)
	}
	if u := after.Upgrade; u != nil {
		news = append(news, o.chronicleUpgrade(before.Upgrade, u)...)
	}
	for i := range after.Generations {
		g := &after.Generations[i]
		news = append(news, o.chronicleGeneration(before.Generation(g.Number), g)...)
	}
	for i := range before.Generations {
		g := &before.Generations[i]
		if after.Generation(g.Number) == nil && !g.State.Ended() {
			news = append(news, o.vanished(g, after.Upgrade))
		}
	}
	return news
}

func (o *owner) chronicleGeneration(was, g *lifecycle.Generation) []Event {
	p := o.rec.generation(g.Number)
	if p == nil {
		p = o.inherit(g)
	}
	from := lifecycle.GenerationState(0)
	if was != nil {
		from = was.State
	}
	p.Restarts, p.Reason, p.Message = g.Restarts, g.Reason, g.Message
	if g.Ready && p.ReadyAt.IsZero() {
		p.ReadyAt = o.wall()
	}
	if from == g.State && was != nil {
		return nil
	}
	p.State = g.State
	p.EndedAt = o.endTime(g.State)
	if g.State.Ended() {
		delete(o.live, g.Number)
	}
	return []Event{{Generation: g.Number, GenerationChanged: &GenerationChanged{From: from, To: g.State, Message: g.Message}}}
}

// inherit makes the entry of a generation that an automatic rollback created, or
// that an upgrade without overlap went back to.
func (o *owner) inherit(g *lifecycle.Generation) *pastGeneration {
	p := pastGeneration{Number: g.Number, CreatedAt: o.wall()}
	u := o.rec.State.Upgrade
	switch {
	case u != nil && u.To == g.Number:
		p.RollbackOf = u.Target
	case u != nil:
		p.RollbackOf = u.From
	}
	if source := o.rec.generation(p.RollbackOf); source != nil {
		p.Artifact, p.Version, p.Spec, p.Release = source.Artifact, source.Version, source.Spec, source.Release
		p.Good = source.Good && p.RollbackOf == u.From // proven, unlike what it replaces
	}
	o.rec.Generations = append(o.rec.Generations, p)
	return &o.rec.Generations[len(o.rec.Generations)-1]
}

// vanished is a generation that left the state without ending: its slot was
// leased on, or the host restarted.
func (o *owner) vanished(g *lifecycle.Generation, u *lifecycle.Upgrade) Event {
	change := &GenerationChanged{From: g.State, To: lifecycle.Stopped, Message: "the host restarted"}
	rolledBack := u != nil && u.Kind == lifecycle.KindAutoRollback && u.From == g.Number
	turnedAway := u != nil && u.State.Ended() && u.To == g.Number
	if rolledBack || turnedAway {
		change.To, change.Message = lifecycle.Failed, u.Message
	}
	if p := o.rec.generation(g.Number); p != nil {
		p.State, p.Message = change.To, change.Message
		if change.To == lifecycle.Failed {
			p.Reason = u.Reason
		}
		p.EndedAt = o.wall()
	}
	delete(o.live, g.Number)
	return Event{Generation: g.Number, GenerationChanged: change}
}

func (o *owner) chronicleUpgrade(was, u *lifecycle.Upgrade) []Event {
	p := o.rec.upgrade(u.ID)
	if p == nil {
		o.rec.Upgrades = append(o.rec.Upgrades, pastUpgrade{CreatedAt: o.wall(), Actor: "graced"})
		p = &o.rec.Upgrades[len(o.rec.Upgrades)-1]
	}
	if !p.EndedAt.IsZero() {
		return nil // all that is known of its end was added then
	}
	changed := was == nil || was.ID != u.ID || was.State != u.State || was.Step != u.Step || was.HoldDone != u.HoldDone
	p.Upgrade = *u
	p.StepSaw = slices.Clone(u.StepSaw)
	p.Warnings = slices.Clone(u.Warnings)
	if !changed {
		return nil
	}
	if g := o.rec.generation(u.To); g != nil && p.Artifact == "" {
		p.Artifact, p.Version, p.Release = g.Artifact, g.Version, g.Release
	}
	if p.ReadyAt.IsZero() && u.State > lifecycle.UpgradeStarting && u.State <= lifecycle.UpgradeSucceeded {
		p.ReadyAt = o.wall()
	}
	if u.State.Ended() && p.EndedAt.IsZero() {
		o.upgradeEnded(p)
	}
	seen := o.showUpgrade(p)
	return []Event{{Generation: u.To, UpgradeChanged: &seen}}
}

// rebooted ends an upgrade that the start after a reboot took the place of.
func (o *owner) rebooted(u lifecycle.Upgrade) []Event {
	was := u
	u.State, u.Reason = lifecycle.UpgradeFailed, lifecycle.ReasonHostRebooted
	u.Message = "the host restarted while the upgrade was under way"
	return o.chronicleUpgrade(&was, &u)
}

func (o *owner) upgradeEnded(p *pastUpgrade) {
	p.EndedAt = o.wall()
	switch p.State {
	case lifecycle.UpgradeSucceeded:
		o.promoted(p)
	case lifecycle.UpgradeFailed:
		p.LastLines = o.host.LastLines(o.name, p.To, failureLines)
		v := o.vitals(p.To)
		p.Errno = v.errno
		if v.cause != "" && p.Reason == lifecycle.ReasonReadyTimeout {
			p.Message += ": " + v.cause
		}
	}
	p.Record = nil
}

// promoted records what a promotion proves, and what it takes back.
func (o *owner) promoted(p *pastUpgrade) {
	if g := o.rec.generation(p.To); g != nil {
		g.Good = true
		// Not sooner: a release that has proved nothing must not keep out the one that
		// serves. Not later: who is told of the success may rely on it.
		o.rec.Floor = max(o.rec.Floor, g.Release.Number)
		if g.Spec != nil && (p.Kind == lifecycle.KindRollback || p.Kind == lifecycle.KindAutoRollback) {
			o.recordSpec(*g.Spec, p.Actor)
		}
	}
	if p.Kind == lifecycle.KindRollback || p.Kind == lifecycle.KindAutoRollback {
		o.notGood(p.From)
	}
	if p.Record != nil {
		o.recordSpec(*p.Record, p.Actor)
	}
}

func (o *owner) recordSpec(spec service.Spec, actor string) {
	if spec.Artifact != o.rec.Spec.Artifact {
		o.rec.Signature = nil
	}
	o.rec.Spec, o.rec.Actor, o.rec.RecordedAt = spec, actor, o.wall()
}

// notGood marks a generation that was rolled back from, and what it restored.
func (o *owner) notGood(number int) {
	for p := o.rec.generation(number); p != nil; p = o.rec.generation(p.RollbackOf) {
		p.Good = false
	}
}

// past is the history as a rollback sees it.
func (o *owner) past() []lifecycle.Past {
	out := make([]lifecycle.Past, 0, len(o.rec.Generations))
	for _, p := range o.rec.Generations {
		out = append(out, lifecycle.Past{
			Number: p.Number, RollbackOf: p.RollbackOf, Good: o.good(&p),
			Artifact: p.Artifact, Version: p.Version,
		})
	}
	return out
}

// good generations can be returned to. An adopted program can only while it runs:
// nothing has proved that the agent can start it.
func (o *owner) good(p *pastGeneration) bool {
	return p.Good && p.Spec != nil && (p.External == nil || p.External.Replaced || o.rec.State.Revivable(p.Number))
}

func (o *owner) notice(generation int, warning bool, message string) {
	o.log.Warn(message, "generation", generation)
	o.report([]Event{{Generation: generation, Notice: &Notice{Warning: warning, Message: message}}})
}

func (o *owner) report(news []Event) {
	o.tell(func() {
		for _, e := range news {
			e.Service = o.name
			o.sup.journal.add(e)
			o.logEvent(e)
		}
	})
}

func (o *owner) logEvent(e Event) {
	switch {
	case e.GenerationChanged != nil:
		o.log.Info("generation changed", "generation", e.Generation,
			"from", e.GenerationChanged.From, "to", e.GenerationChanged.To, "message", e.GenerationChanged.Message)
	case e.UpgradeChanged != nil:
		u := e.UpgradeChanged
		o.log.Info("upgrade changed", "upgrade", u.ID, "state", u.State, "step", u.Step, "reason", u.Reason, "message", u.Message)
	case e.ServiceChanged != nil:
		o.log.Info("service "+e.ServiceChanged.Verb, "actor", e.ServiceChanged.Actor, "reason", e.ServiceChanged.Reason)
	}
}
