package lifecycle

// letGo gives an adopted program up: it runs on, with its listeners, and nothing
// of the service is left.
func (s *State) letGo(e Event) error {
	a := s.Active()
	switch {
	case s.Upgrading():
		return ErrUpgrading
	case a == nil || !a.External:
		return ErrNotExternal
	case s.Live() > 1:
		return ErrClosing
	}
	s.Halted = true // nothing is to be started in its place
	s.Promoted = 0
	a.Message = e.Message
	a.Ending = Stopped
	a.abandon()
	return nil
}

// abandon ends a generation whose program is not the agent's to end. Whatever
// waits on its slot is that program's.
func (g *Generation) abandon() {
	g.end()
	g.Abandoned = true
}

// Revivable says whether a generation still serves, so that going back to it is a
// change of weights.
func (s *State) Revivable(number int) bool {
	g := s.Generation(number)
	return g != nil && g.State == Draining && g.CutAt == 0 && g.serves()
}
