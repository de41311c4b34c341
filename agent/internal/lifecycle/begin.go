package lifecycle

func (s *State) begin(e Event) error {
	switch {
	case s.Upgrading():
		return ErrUpgrading
	case e.Kind == KindAdopt && e.Policy.Alone:
		return ErrNotAlone
	case e.Kind == KindAdopt && (s.Live() > 0 || s.Promoted != 0):
		return ErrHasOwn
	case s.Halted && e.Kind != KindAdopt:
		return ErrHalted
	}
	s.Halted = false
	if s.Revivable(e.Target) {
		s.revive(s.Generation(e.Target), e)
		return nil
	}
	if e.Policy.MaxGenerations > 0 && s.Staying() >= e.Policy.MaxGenerations {
		return ErrTooMany
	}
	a := s.Active()
	if a != nil && a.External && alone(e.Policy, a) {
		return ErrNotAlone // there would be no way back to it
	}
	next := Generation{State: Starting, Policy: e.Policy, Alone: alone(e.Policy, a), External: e.Kind == KindAdopt}
	if s.goingBack() {
		return ErrClosing
	}
	s.Upgrade = &Upgrade{ID: e.ID, Kind: e.Kind, State: UpgradeStarting, Plan: e.Plan, Target: e.Target}
	if a != nil {
		s.Upgrade.From = a.Number
	}
	s.Back = nil
	if next.Alone {
		s.makeRoom(a, next.Policy, e.At)
	}
	s.LastNumber++
	s.LastSlot++
	s.Upgrade.To = s.LastNumber
	next.Number, next.Slot = s.LastNumber, s.LastSlot
	s.add(next, e.At)
	return nil
}

// revive makes a predecessor that still serves active again: a change of
// weights, not a start.
func (s *State) revive(t *Generation, e Event) {
	u := &Upgrade{ID: e.ID, Kind: e.Kind, State: UpgradeSucceeded, To: t.Number, Target: t.Number}
	if a := s.Active(); a != nil {
		u.From = a.Number
		s.turnAway(a, ReasonRolledBack, "", Stopped, e.At)
	}
	s.Upgrade = u
	t.activate()
	s.Promoted = t.Number
	s.Fallback = nil
}

func (s *State) add(g Generation, at Time) {
	s.Generations = append(s.Generations, g)
	s.order(&s.Generations[len(s.Generations)-1], at)
}

func (s *State) remove(number int) {
	kept := s.Generations[:0]
	for _, g := range s.Generations {
		if g.Number != number {
			kept = append(kept, g)
		}
	}
	s.Generations = kept
}

// order asks for the next instance of the generation's own program.
func (s *State) order(g *Generation, at Time) {
	g.Instance++
	g.External = g.External && g.Instance == 1
	g.Program = g.Number
	g.Running, g.Ready, g.Overdue, g.Lost = false, false, false, false
	g.RestartAt = 0
	s.begins(g, at)
}

func (g *Generation) activate() {
	g.State = Active
	g.Phase = 0
	g.Ending = 0
	if g.Ready {
		g.Deadline = 0
	}
	g.Reason, g.Message = "", ""
}

func (s *State) resume(e Event) error {
	switch {
	case s.Upgrading():
		return ErrUpgrading
	case s.Live() > 0 && !s.Halted:
		return ErrRunning
	case s.Live() > 0, s.Generation(s.Promoted) != nil:
		return ErrClosing
	case s.Promoted == 0:
		return ErrNothingToStart
	}
	s.Halted = false
	s.startAgain(e)
	return nil
}

// startAgain runs the last promoted generation on a new slot.
func (s *State) startAgain(e Event) {
	s.Upgrade = &Upgrade{ID: e.ID, Kind: KindStart, State: UpgradeStarting, To: s.Promoted}
	s.LastSlot++
	s.add(Generation{Number: s.Promoted, Slot: s.LastSlot, State: Active, Policy: e.Policy}, e.At)
}

// booted is what is left after the host restarted: no process, no socket.
func (s *State) booted(e Event) {
	if s.Upgrading() {
		s.Upgrade.end(UpgradeFailed, ReasonHostRebooted, "the host restarted while the upgrade was under way")
	}
	if p := s.Generation(s.Promoted); p != nil && p.External {
		s.Promoted = 0 // whoever started it does so again
	}
	s.Generations = nil
	s.Fallback = nil
	if s.Halted || s.Promoted == 0 {
		return
	}
	s.startAgain(e)
}
