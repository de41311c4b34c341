package lifecycle

import "fmt"

func (s *State) becameReady(g *Generation, at Time) {
	g.Running, g.Ready = true, true
	g.Refusing, g.HoldUntil = false, 0
	if g.State == Draining {
		return
	}
	g.Deadline = 0
	u := s.Upgrade
	if !s.Upgrading() || u.To != g.Number || u.State != UpgradeStarting {
		return
	}
	from := s.old()
	switch {
	case from == nil || g.State == Active:
		g.activate()
		s.promote(g, nil, at)
	case len(u.Plan.Steps) > 0:
		g.State = Candidate
		u.State = UpgradeCanary
		u.beginStep(1, at)
	default:
		s.switchOver(g, from, at)
	}
}

// old is the generation that the upgrade replaces, as long as it keeps its place:
// one that ended by itself, and whose slot is rescued, does not.
func (s *State) old() *Generation {
	g := s.Generation(s.Upgrade.From)
	if g == nil || (g.State != Active && g.State != Standby) {
		return nil
	}
	return g
}

func (s *State) switchOver(g, from *Generation, at Time) {
	g.activate()
	if from != nil {
		from.State = Standby
	}
	s.Upgrade.State = UpgradeSoaking
	s.Upgrade.PhaseEnd = at.After(s.Upgrade.Plan.Soak)
	if from == nil || s.Upgrade.soaked(at) {
		s.promote(g, from, at)
	}
}

// soaked says whether the soak is over.
func (u *Upgrade) soaked(at Time) bool { return !u.Plan.HoldSoak && at >= u.PhaseEnd }

func (s *State) holdSoak(e Event) error {
	if !s.Upgrading() {
		return ErrNotUpgrading
	}
	s.Upgrade.Plan.HoldSoak = e.Type == HoldSoak
	return nil
}

func (s *State) promote(g, from *Generation, at Time) {
	u := s.Upgrade
	g.activate()
	u.end(UpgradeSucceeded, u.Reason, u.Message) // what an automatic rollback was for
	s.Promoted = g.Number
	s.Fallback, s.Back = s.Back, nil
	if from != nil {
		s.Fallback = &Target{Number: from.Number, Policy: from.Policy, External: from.External}
	}
	g.WindowEnd = 0
	if u.Kind != KindUpgrade || g.Policy.RollbackWindow == 0 {
		s.Fallback = nil
	}
	if s.Fallback != nil {
		g.WindowEnd = at.After(g.Policy.RollbackWindow)
	}
	g.Alone = g.Policy.Alone
	if from != nil {
		from.drain(Stopped, at)
	}
}

func (s *State) promoteCommand(e Event) error {
	switch {
	case !s.Upgrading():
		return ErrNotUpgrading
	case s.Upgrade.State == UpgradeStarting:
		return ErrNotReady
	}
	s.promote(s.Generation(s.Upgrade.To), s.old(), e.At)
	return nil
}

func (s *State) promoteStep(e Event) error {
	switch {
	case !s.Upgrading():
		return ErrNotUpgrading
	case s.Upgrade.State == UpgradeStarting:
		return ErrNotReady
	case s.Upgrade.State != UpgradeCanary:
		return ErrNoStep
	}
	s.nextStep(e.At)
	return nil
}

func (u *Upgrade) beginStep(n int, at Time) {
	u.Step = n
	u.StepSaw = append(u.StepSaw, 0)
	u.HoldDone = false
	u.PhaseEnd = at.After(u.Plan.Hold)
	u.StepLimit = 0
	if u.Plan.MinConnections > 0 {
		u.StepLimit = at.After(max(u.Plan.StepTimeout, u.Plan.Hold))
	}
}

// Waiting says whether the current step goes on only by PromoteStep.
func (u *Upgrade) Waiting() bool {
	return u.State == UpgradeCanary && u.HoldDone && u.Plan.Steps[u.Step-1].Manual
}

// advance goes on when the current step has lasted and seen enough.
func (s *State) advance(at Time) {
	u := s.Upgrade
	if !u.HoldDone || u.StepSaw[u.Step-1] < u.Plan.MinConnections || u.Waiting() {
		return
	}
	s.nextStep(at)
}

func (s *State) nextStep(at Time) {
	u := s.Upgrade
	if u.StepSaw[u.Step-1] == 0 {
		u.Warnings = append(u.Warnings, fmt.Sprintf("step %d saw no connection: it proves nothing", u.Step))
	}
	if u.Step < len(u.Plan.Steps) {
		u.beginStep(u.Step+1, at)
		return
	}
	u.StepLimit = 0
	s.switchOver(s.Generation(u.To), s.old(), at)
}

func (s *State) saw(g *Generation, e Event) {
	u := s.Upgrade
	if !s.Upgrading() || u.State != UpgradeCanary || u.To != g.Number || e.Instance != u.Step {
		return
	}
	u.StepSaw[u.Step-1] = max(u.StepSaw[u.Step-1], e.Count)
	s.advance(e.At)
}

func (u *Upgrade) end(state UpgradeState, r Reason, message string) {
	u.State = state
	u.Reason, u.Message = r, message
	u.PhaseEnd, u.StepLimit = 0, 0
}
