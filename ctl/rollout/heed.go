package rollout

// heed does what an operator left on a claim. Words that were said before this driver
// came, it finds while it claims: those say how the rollout stands. A later one is said
// to it.
func (s *State) heed(e Event) {
	word, last := e.Control, s.Heard
	if word.Revision <= last.Revision {
		return
	}
	s.Heard = word
	switch {
	case s.Phase >= Closing:
	case word.Abort && !last.Abort:
		if !s.Aborting && s.Phase != Undoing {
			s.abort(word.aborted())
		}
	case word.Paused:
		s.Paused = true
	case s.Phase <= Claiming:
		s.Paused = false
	case word.PromotedWave > last.PromotedWave:
		s.Paused = false // what is promoted is not paused
	default:
		_ = s.resume(e.At) // where nothing holds the rollout up it was said for nothing
	}
}

// aborted is whose word an abort is; "" where that is not known.
func (c Control) aborted() string {
	if c.By == "" {
		return ""
	}
	return "aborted by " + c.By
}

// promoted says that an operator has let the next wave begin, or one after it.
func (s *State) promoted() bool {
	next := s.Wave + 2 // counted from 1
	return s.Heard.PromotedWave >= next
}
