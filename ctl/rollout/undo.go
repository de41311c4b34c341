package rollout

// undo turns the rollout around. What moves is told to go back at once; what was
// upgraded follows in reverse.
func (s *State) undo(why string) {
	s.Phase, s.PauseUntil = Undoing, 0
	if s.Why == "" {
		s.Why = why
	}
	for i := range s.targets() {
		if h := &s.Hosts[i]; h.goesBack() {
			h.Lost = false // each is asked once at least
		}
	}
}

// goesBack says that the host is not where it came from, or on its way.
func (h *HostState) goesBack() bool {
	switch h.Progress {
	case Starting, Upgrading, Soaking, Upgraded, Returning:
		return true
	}
	return false
}

// back sends hosts back, the last wave first, and ends when none is left that can
// be reached.
func (s *State) back() bool {
	wave := -1
	for i := range s.targets() {
		h := &s.Hosts[i]
		if !h.goesBack() || h.Lost {
			continue
		}
		if h.Progress.moving() {
			h.Progress = Returning // it takes no room that it did not have
		}
		wave = max(wave, h.Wave)
	}
	if wave < 0 {
		s.close(Undone, "")
		return true
	}
	if s.Paused {
		return false
	}
	lane := s.lane()
	for i := len(s.targets()) - 1; i >= 0; i-- {
		h := &s.Hosts[i]
		if h.Wave == wave && h.Progress == Upgraded && !h.Lost && lane.admits(h) {
			h.Progress = Returning
		}
	}
	return false
}
