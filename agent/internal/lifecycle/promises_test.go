package lifecycle

import (
	"fmt"
	"slices"
)

// wrong says which promise a step breaks.
func wrong(before, s State) string {
	actives := 0
	effects := s.Effects()
	for i := range s.Generations {
		g := &s.Generations[i]
		if g.State == Active {
			actives++
		}
		if p := wrongGeneration(&s, g, effects); p != "" {
			return p
		}
	}
	if actives > 1 {
		return "two active generations"
	}
	if p := wrongCompany(&s, effects); p != "" {
		return p
	}
	if p := wrongExternal(&before, &s, effects); p != "" {
		return p
	}
	if p := wrongWeights(&s); p != "" {
		return p
	}
	return endedTooSoon(&before, &s)
}

// wrongCompany: a program that must be alone is not ordered while another runs.
func wrongCompany(s *State, effects []Effect) string {
	runs := 0
	for i := range s.Generations {
		if s.Generations[i].Running {
			runs++
		}
	}
	for _, e := range effects {
		g := s.Generation(e.Generation)
		if e.Kind == Run && g.Alone && !g.Running && runs > 0 {
			return fmt.Sprintf("generation %d is started beside another", g.Number)
		}
	}
	return ""
}

// wrongExternal: an adopted program is told to end when a successor of it was
// promoted, by a stop, or once it gave its listener up; never for what the agent
// could not do with it.
func wrongExternal(before, s *State, effects []Effect) string {
	for _, e := range effects {
		g := s.Generation(e.Generation)
		if !g.External || (e.Kind != Signal && e.Kind != Kill) {
			continue
		}
		if was := before.Generation(g.Number); was == nil || was.State == Starting && !s.Halted {
			return fmt.Sprintf("generation %d is told to end, and it is not the agent's", g.Number)
		}
		if a := s.Active(); !s.Halted && !g.Lost && (a == nil || a.Number == g.Number) {
			return fmt.Sprintf("generation %d is told to end, and nobody replaces it", g.Number)
		}
	}
	return ""
}

func wrongGeneration(s *State, g *Generation, effects []Effect) string {
	switch {
	case g.State.Ended() && (g.Running || g.Ready || g.RestartAt != 0 || g.Deadline != 0):
		return fmt.Sprintf("generation %d has ended and is not at rest", g.Number)
	case g.Ready && !g.Running:
		return fmt.Sprintf("generation %d is ready and does not run", g.Number)
	case g.State == Draining && (g.Phase < Quiescing || g.Phase > Killed):
		return fmt.Sprintf("generation %d drains in no phase", g.Number)
	case g.State != Draining && g.Phase != 0:
		return fmt.Sprintf("generation %d has a phase and does not drain", g.Number)
	case !g.State.Ended() && g.Slot == 0:
		return fmt.Sprintf("generation %d lives without a slot", g.Number)
	}
	moving := g.Deadline != 0 || g.RestartAt != 0 || s.waits(g)
	for _, e := range effects {
		moving = moving || e.Generation == g.Number
	}
	if !moving {
		return fmt.Sprintf("nothing moves generation %d on", g.Number)
	}
	return ""
}

func wrongWeights(s *State) string {
	sum := 0
	serving := false
	for i := range s.Generations {
		serving = serving || s.Generations[i].serves()
	}
	for slot, share := range s.Weights() {
		sum += share
		i := slices.IndexFunc(s.Generations, func(g Generation) bool { return g.Slot == slot })
		if i < 0 || share <= 0 {
			return fmt.Sprintf("weight %d for slot %d, which nobody has", share, slot)
		}
		g := s.Generations[i]
		// One that takes over without overlap takes them before it serves.
		if g.State.Ended() || (serving && !g.serves() && !g.Alone) {
			return fmt.Sprintf("generation %d has weight and does not serve, while another does", g.Number)
		}
	}
	if sum != 0 && sum != Full {
		return fmt.Sprintf("weights sum to %d", sum)
	}
	if serving && sum == 0 {
		return "somebody serves and nobody has weight"
	}
	return ""
}

// endedTooSoon: while an upgrade is not promoted, the generation it replaces is
// never told to end, unless an operator stops the service.
func endedTooSoon(before, s *State) string {
	if !s.Upgrading() || s.Halted || s.Upgrade.From == 0 || s.anyAlone() {
		return ""
	}
	if old := s.Generation(s.Upgrade.From); old != nil && old.State == Draining {
		if was := before.Generation(old.Number); was == nil || (was.State != Draining && !was.State.Ended()) {
			return "the old generation was told to end before the new one was promoted"
		}
	}
	return ""
}
