package lifecycle

// EffectKind names something that has to be under way.
type EffectKind uint8

// The effects. Each is idempotent: it may be started again at any time.
const (
	// Run has the instance of a program running on the slot; it reports Started,
	// StartFailed, Exited.
	Run EffectKind = 1 + iota
	// AwaitReady proves the instance over the private path; BecameReady.
	AwaitReady
	// Watch looks after a generation that proves itself: its listener, its
	// queue, strangers, its check; Fault, Saw.
	Watch
	// Oversee looks after the listener of a generation that is proven; Fault.
	Oversee
	// Quiesce waits until nothing more reaches the slot; Quiesced.
	Quiesce
	// HoldOff keeps new connections away from a program that a stop will end, and
	// waits for its queue; Quiesced.
	HoldOff
	// Refuse has new connections refused, once no program accepts any more.
	Refuse
	// Count counts a draining generation's connections; Idle.
	Count
	// Signal sends the drain signal, once per instance.
	Signal
	// Kill ends the instance and everything it started.
	Kill
	// AwaitFull watches the queue of a slot that nobody serves yet; Fault.
	AwaitFull
	// Boot has the unit of an adopted program start it at the next boot or, with
	// Force, no longer.
	Boot
	// Release closes an ended generation's slot once that harms nobody; Stranded,
	// Released.
	Release
)

// Effect is one thing that has to be under way. It is comparable: an effect
// that is in the Effects of two states in a row just goes on.
type Effect struct {
	Kind       EffectKind
	Generation int
	Slot       int
	Instance   int
	// Program is the generation whose artifact runs.
	Program int
	// Step is the canary step that a Watch counts for; for a Count, the phase.
	Step int
	// Force makes a Release close the slot whatever waits on it; a Count that has
	// it is of a generation that stands in for the active one.
	Force bool
}

// Effects lists what has to be under way in this state.
func (s *State) Effects() []Effect {
	weights := s.Weights()
	var out []Effect
	for i := range s.Generations {
		g := &s.Generations[i]
		out = append(out, s.effectsOf(g, weights[g.Slot] > 0)...)
	}
	return out
}

func (s *State) effectsOf(g *Generation, weighted bool) []Effect {
	e := Effect{Generation: g.Number, Slot: g.Slot, Instance: g.Instance, Program: g.Program}
	of := func(k EffectKind) Effect { f := e; f.Kind = k; return f }
	if g.State.Ended() {
		if g.Slot == 0 {
			return nil
		}
		r := of(Release)
		r.Force = g.Abandoned || s.Halted
		return []Effect{r}
	}
	var out []Effect
	if g.RestartAt == 0 && !s.waits(g) {
		out = append(out, of(Run))
	}
	if g.Alone && !g.Ready && s.Upgrading() && s.Upgrade.To == g.Number && s.Back != nil {
		out = append(out, of(AwaitFull))
	}
	// Once a program is being started its listener is left alone: Run opens it.
	if g.Refusing && g.State != Draining && g.RestartAt != 0 {
		out = append(out, of(Refuse))
	}
	if g.Overdue && g.RestartAt == 0 {
		out = append(out, of(Kill))
	}
	if g.Running && !g.Ready && !g.Lost && g.Program == g.Number && (g.State != Draining || g.Phase < Signalled) {
		out = append(out, of(AwaitReady))
	}
	switch {
	case !g.Ready || g.Program != g.Number:
	case s.Upgrading() && s.Upgrade.To == g.Number && (g.State == Candidate || g.State == Active):
		w := of(Watch)
		w.Step = s.Upgrade.Step
		out = append(out, w)
	case g.State == Active || g.State == Standby:
		out = append(out, of(Oversee))
	}
	if g.External && g.Ready {
		b := of(Boot)
		b.Force = g.State == Draining
		out = append(out, b)
	}
	if g.State == Draining {
		out = append(out, s.drainEffects(g, of, weighted)...)
	}
	return out
}

func (s *State) drainEffects(g *Generation, of func(EffectKind) Effect, weighted bool) []Effect {
	c := of(Count)
	c.Step = int(g.Phase)
	switch g.Phase {
	case Quiescing:
		if s.Halted {
			return []Effect{of(HoldOff), c}
		}
		if weighted {
			return []Effect{c} // it serves until another one can
		}
		return []Effect{of(Quiesce), c}
	case Patient:
		c.Force = weighted // counted anew once it need not stand in any more
		return []Effect{c}
	case Signalled:
		if s.Halted {
			return []Effect{of(Signal), of(Refuse), c}
		}
		return []Effect{of(Signal), c}
	case Killed:
		return []Effect{of(Kill), c}
	}
	return nil
}
