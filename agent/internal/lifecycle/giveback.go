package lifecycle

func (s *State) abort(e Event) error {
	switch {
	case !s.Upgrading():
		return ErrNotUpgrading
	case s.Upgrade.Kind == KindAdopt:
		return ErrAdopting
	}
	s.giveBack(UpgradeAborted, ReasonAborted, e.Message, e.At)
	return nil
}

// fault is a misbehaviour. A generation that still has to prove itself is turned
// away for it; any other is replaced when it no longer listens.
func (s *State) fault(g *Generation, e Event) {
	switch {
	case g.State == Draining || g.State.Ended():
	case s.Upgrading() && s.Upgrade.To == g.Number:
		s.giveBack(UpgradeFailed, e.Reason, e.Message, e.At)
	case e.Reason == ReasonListenerLost && g.Ready:
		s.lost(g, e)
	}
}

// lost is a proven generation that gave its listener up. It may be finishing its
// connections, told to by somebody else: it gets as long as its queue can wait.
func (s *State) lost(g *Generation, e Event) {
	if e.At-g.StartedAt >= Time(shortRun) {
		g.Crashes = 0
	}
	g.Ready, g.Lost = false, true
	g.Message = e.Message
	g.Deadline = e.At.After(g.Policy.Restart.Hold)
}

// giveBack ends the upgrade and returns every new connection to the old
// generation, which never stopped.
func (s *State) giveBack(end UpgradeState, r Reason, message string, at Time) {
	u := s.Upgrade
	from := s.old()
	to := s.Generation(u.To)
	u.end(end, r, message)
	if to != nil && to.Alone && s.Back != nil {
		s.goBack(to, r, message, at)
		return
	}
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
	case g.External:
		g.Ending = ending
		g.abandon()
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
