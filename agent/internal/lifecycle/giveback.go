package lifecycle

func (s *State) abort(e Event) error {
	if !s.Upgrading() {
		return ErrNotUpgrading
	}
	s.giveBack(UpgradeAborted, ReasonAborted, e.Message, e.At)
	return nil
}

// fault is a misbehaviour of a generation that still has to prove itself; of
// any other generation it is only news.
func (s *State) fault(g *Generation, e Event) {
	if !s.Upgrading() || s.Upgrade.To != g.Number || g.State == Draining || g.State.Ended() {
		return
	}
	s.giveBack(UpgradeFailed, e.Reason, e.Message, e.At)
}

// giveBack ends the upgrade and returns every new connection to the old
// generation, which never stopped.
func (s *State) giveBack(end UpgradeState, r Reason, message string, at Time) {
	u := s.Upgrade
	from := s.old()
	to := s.Generation(u.To)
	u.end(end, r, message)
	if from != nil {
		from.activate()
	}
	if to != nil && !to.State.Ended() {
		s.turnAway(to, r, message, Failed, at)
	}
}

// turnAway ends a generation that lost its place.
func (s *State) turnAway(g *Generation, r Reason, message string, ending GenerationState, at Time) {
	g.Reason, g.Message = r, message
	proven := g.State != Starting
	switch {
	case !g.Running:
		g.Ending = ending
		g.end()
	case r == ReasonNotAccepting:
		// What waits in its queue is served by another program as soon as this
		// one is gone.
		g.drain(ending, at)
		g.kill()
	case !proven, r == ReasonListenerLost:
		g.drain(ending, at)
		g.signal(at)
	default:
		g.drain(ending, at)
	}
}
