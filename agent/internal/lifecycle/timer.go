package lifecycle

// Timer is the next instant at which a Tick has something to do; 0 when there
// is none.
func (s *State) Timer() Time {
	var next Time
	earlier := func(t Time) {
		if t != 0 && (next == 0 || t < next) {
			next = t
		}
	}
	for i := range s.Generations {
		g := &s.Generations[i]
		earlier(g.Deadline)
		earlier(g.RestartAt)
		earlier(g.HoldUntil)
	}
	if s.Upgrading() {
		if s.Upgrade.State != UpgradeSoaking || !s.Upgrade.Plan.HoldSoak {
			earlier(s.Upgrade.PhaseEnd)
		}
		earlier(s.Upgrade.StepLimit)
	}
	return next
}

func due(t, at Time) bool { return t != 0 && at >= t }

func (s *State) tick(at Time) {
	for _, n := range s.numbers() {
		if g := s.Generation(n); g != nil {
			s.tickGeneration(g, at)
		}
	}
	if s.Upgrading() {
		s.tickUpgrade(at)
	}
}

func (s *State) numbers() []int {
	out := make([]int, len(s.Generations))
	for i, g := range s.Generations {
		out[i] = g.Number
	}
	return out
}

func (s *State) tickGeneration(g *Generation, at Time) {
	if due(g.HoldUntil, at) {
		g.HoldUntil = 0
		// Another generation that serves takes the connections meanwhile.
		g.Refusing = s.Weights()[g.Slot] > 0 && !g.Ready
	}
	if due(g.RestartAt, at) {
		s.order(g, at)
	}
	if due(g.Deadline, at) {
		s.overdue(g, at)
	}
}

func (s *State) overdue(g *Generation, at Time) {
	g.Deadline = 0
	switch {
	case s.standsIn(g):
		g.Deadline = at.After(g.Policy.DrainTimeout)
	case g.State == Draining && g.Phase == Quiescing:
		s.quiesced(g, at)
	case g.State == Draining && g.Phase == Patient:
		g.signal(at)
	case g.State == Draining && g.Phase == Signalled:
		g.kill()
	case g.State == Draining || g.State.Ended() || g.Ready:
	case s.proving(g):
		s.giveBack(UpgradeFailed, ReasonReadyTimeout, "not ready within "+s.readyLimit(g).String(), at)
	default:
		g.Overdue = true
		s.startFailed(g, ReasonReadyTimeout, "not ready within "+g.Policy.ReadyTimeout.String())
	}
}

func (s *State) tickUpgrade(at Time) {
	u := s.Upgrade
	switch {
	case u.State == UpgradeSoaking && u.soaked(at):
		s.promote(s.Generation(u.To), s.old(), at)
	case u.State == UpgradeCanary && due(u.PhaseEnd, at):
		u.PhaseEnd = 0
		u.HoldDone = true
		s.advance(at)
	case u.State == UpgradeCanary && due(u.StepLimit, at):
		s.stepTimeout(at)
	}
}

func (s *State) stepTimeout(at Time) {
	u := s.Upgrade
	u.StepLimit = 0
	if u.Waiting() && u.StepSaw[u.Step-1] >= u.Plan.MinConnections {
		return
	}
	s.giveBack(UpgradeFailed, ReasonStepTimeout, "the step saw too few connections in time", at)
}
