package rollout

import "slices"

// heed does what an operator left on a claim. Words that were said before this driver
// came, it finds while it claims: those say how the rollout stands. A later one is said
// to it.
func (s *State) heed(e Event) {
	word, last := e.Control, s.Heard
	if said := s.said(e); word.Revision <= last.Revision && !said {
		return
	}
	s.Heard = word
	s.Heard.Revision = max(word.Revision, last.Revision)
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

// said tells a new word on a claim from one that was found there. Claims count their words
// each by itself: a host that has missed some is behind the others, and what is said where
// the driver listens is new all the same.
func (s *State) said(e Event) bool {
	i := s.index[e.Host]
	h := &s.Hosts[i]
	risen := e.Control.Revision > h.Heard
	h.Heard = max(h.Heard, e.Control.Revision)
	return risen && s.Phase > Claiming && h.claimed() && slices.Contains(s.listening(), i)
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
