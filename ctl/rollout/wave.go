package rollout

import (
	"fmt"
	"slices"
)

// fetched begins the waves once no reachable host waits for the artifact.
func (s *State) fetched() bool {
	for _, h := range s.targets() {
		if h.Progress == Claimed && !h.Lost {
			return false
		}
	}
	switch c := s.count(); {
	case s.touched():
	case c.untouched > s.mayFail():
		s.close(Unprepared, fmt.Sprintf("hosts that could not get ready: %d, of at most %d; %s", c.untouched, s.mayFail(), s.firstFailure()))
		return true
	case c.lost > s.mayLose():
		s.close(Unprepared, c.unreachable(s))
		return true
	}
	s.Phase = Rolling
	return true
}

// firstFailure is what the first of the hosts that failed says.
func (s *State) firstFailure() string {
	for _, h := range s.targets() {
		if h.Progress == Failed {
			return h.Name + ": " + h.Message
		}
	}
	return ""
}

// roll begins what may begin, and ends the wave when nothing is left of it.
func (s *State) roll(at Time) bool {
	if s.Hold() != Free {
		return false
	}
	later, worked := false, false
	lane := s.lane()
	for i := range s.targets() {
		h := &s.Hosts[i]
		if h.Wave > s.Wave {
			later = later || !h.Progress.over() && !h.Lost
			continue
		}
		if h.Progress == Pushed && !h.Lost && lane.admits(h) {
			h.Progress, h.Touched = Starting, true
		}
		worked = worked || h.Wave == s.Wave && h.Touched
	}
	switch {
	case s.unfinished():
		return false
	case s.Wave+1 >= len(s.Spec.Plan.Waves):
		s.close(Completed, "")
	case worked && later:
		s.Phase = Pausing
		if !s.Spec.Policy.Manual {
			s.PauseUntil = at.After(s.Spec.Policy.Pause)
		}
	default:
		s.nextWave() // there is nothing to look at, or nothing to wait for
	}
	return true
}

// unfinished says that hosts of this wave or of one before can be waited for.
func (s *State) unfinished() bool {
	return slices.ContainsFunc(s.targets(), func(h HostState) bool {
		return h.Wave <= s.Wave && !h.Progress.over() && !h.Lost
	})
}

func (s *State) nextWave() {
	s.Phase, s.PauseUntil = Rolling, 0
	s.Wave++
}

// lane is what moves at the moment. A host that is out of reach does not count: it
// has a budget of its own, and holds nobody up.
type lane struct {
	moving, limit int
	zone          string
	crossed       bool // hosts of two zones move, since one of them came back
}

func (s *State) lane() lane {
	l := lane{limit: s.Spec.Policy.MaxInFlight}
	if l.limit == 0 {
		l.limit = len(s.targets())
	}
	for _, h := range s.targets() {
		if h.Progress.moving() && !h.Lost {
			l.crossed = l.crossed || l.moving > 0 && l.zone != h.Zone
			l.zone = h.Zone
			l.moving++
		}
	}
	return l
}

// admits takes one more host where there is room: not too many move, and none of
// another zone.
func (l *lane) admits(h *HostState) bool {
	if l.moving >= l.limit || l.crossed || l.moving > 0 && l.zone != h.Zone {
		return false
	}
	l.zone = h.Zone
	l.moving++
	return true
}
