package lifecycle

import "time"

// A program that cannot run beside another generation's takes over without
// overlap: new connections wait in its slot's queue while the old one ends and it
// begins. It cannot go back to the old one then, which has ended or is ending: the
// old program is started again, on the new slot, and answers the queue.

// alone says whether the next generation must be alone: because of itself, or of
// the one that it replaces.
func alone(p Policy, active *Generation) bool {
	return p.Alone || (active != nil && active.Policy.Alone)
}

// anyAlone says whether a generation lives that no other program may run beside.
func (s *State) anyAlone() bool {
	for i := range s.Generations {
		if g := &s.Generations[i]; g.Alone && !g.State.Ended() {
			return true
		}
	}
	return false
}

// waits says whether a generation is not started yet because another program runs.
func (s *State) waits(g *Generation) bool {
	if !g.Alone || g.Running || g.State.Ended() {
		return false
	}
	for i := range s.Generations {
		if s.Generations[i].Running {
			return true
		}
	}
	return false
}

// goingBack says whether what an upgrade without overlap started from is still to
// be started again.
func (s *State) goingBack() bool {
	for i := range s.Generations {
		if g := &s.Generations[i]; g.Heir || (g.State == Active && s.waits(g)) {
			return true
		}
	}
	return false
}

// makeRoom tells every program to end within the limit.
func (s *State) makeRoom(active *Generation, p Policy, at Time) {
	limit := p.OverlapLimit
	if active != nil {
		s.Back = &Target{Number: active.Number, Policy: active.Policy}
		limit = max(limit, active.Policy.OverlapLimit)
	}
	for i := range s.Generations {
		s.Generations[i].makeRoom(at.After(limit), at)
	}
}

func (g *Generation) makeRoom(cut, at Time) {
	g.drain(Stopped, at)
	if g.State.Ended() || g.Phase == Killed {
		return
	}
	g.CutAt = cut
	if g.Phase == Patient {
		g.signal(at)
	}
	if g.Deadline == 0 || g.Deadline > cut {
		g.Deadline = cut
	}
}

// roomMade lets the generation begin that waited for a program to end.
func (s *State) roomMade(at Time) {
	for i := range s.Generations {
		g := &s.Generations[i]
		if g.Alone && !g.Running && g.State != Draining && !g.State.Ended() && g.RestartAt == 0 && g.Deadline == 0 {
			s.begins(g, at)
		}
	}
}

// begins says from when on a program's start is timed: one that waits has not
// begun.
func (s *State) begins(g *Generation, at Time) {
	g.StartedAt = at
	g.Deadline = 0
	if !s.waits(g) {
		g.Deadline = at.After(s.readyLimit(g))
	}
}

// readyLimit is how long a program may take: connections do not wait for longer
// than the overlap limit.
func (s *State) readyLimit(g *Generation) time.Duration {
	if limit := g.Policy.OverlapLimit; limit > 0 && s.Back != nil && s.Upgrading() && s.Upgrade.To == g.Number {
		return min(limit, g.Policy.ReadyTimeout)
	}
	return g.Policy.ReadyTimeout
}

// newcomer is the generation that takes every new connection before it serves.
func (s *State) newcomer() *Generation {
	for i := len(s.Generations) - 1; i >= 0; i-- {
		g := &s.Generations[i]
		if g.Alone && !g.Ready && (g.Heir || g.State == Starting || g.State == Active) {
			return g
		}
	}
	return nil
}

// goBack ends an upgrade without overlap that failed: what it started is killed,
// and what was there before is started in its place.
func (s *State) goBack(to *Generation, r Reason, message string, at Time) {
	to.Reason, to.Message, to.Ending = r, message, Failed
	if !to.Running {
		s.takeSlot(to, *s.Back, at)
		return
	}
	to.drain(Failed, at)
	to.kill()
	to.Ready, to.Heir = false, true
}
