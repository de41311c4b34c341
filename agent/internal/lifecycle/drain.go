package lifecycle

import "time"

// maxRescues bounds how often the queue of an ended generation is served by
// another one's program before its slot is closed all the same.
const maxRescues = 3

// haltQuiesce bounds how long a stop waits for the accept queue: nobody else
// takes new connections, so it never runs empty under load.
const haltQuiesce = time.Second

func (g *Generation) drain(ending GenerationState, at Time) {
	if g.State == Draining || g.State.Ended() {
		return
	}
	g.State = Draining
	g.Ending = ending
	if !g.Running {
		g.end()
		return
	}
	g.Phase = Quiescing
	g.Deadline = at.After(g.Policy.DrainTimeout)
}

func (s *State) quiesced(g *Generation, at Time) {
	if g.State != Draining || g.Phase != Quiescing {
		return
	}
	if s.Halted || !g.Policy.PatientDrain || g.CutAt != 0 {
		g.signal(at)
		return
	}
	g.Phase = Patient
	g.Deadline = 0
	if g.Policy.Patience > 0 {
		g.Deadline = at.After(g.Policy.Patience)
	}
}

// standsIn says whether a draining generation takes new connections because the
// active one is being started again: it is not told to end before that is back.
func (s *State) standsIn(g *Generation) bool {
	return g.State == Draining && g.Phase <= Patient && !s.Halted && s.Active() != nil && s.Weights()[g.Slot] > 0
}

func (g *Generation) signal(at Time) {
	g.Phase = Signalled
	g.Deadline = at.After(g.Policy.DrainTimeout)
	if g.CutAt != 0 {
		g.Deadline = g.CutAt
	}
}

func (g *Generation) kill() {
	g.Phase = Killed
	g.Deadline = 0
}

// end is a program gone for good; the slot stays until it is released.
func (g *Generation) end() {
	g.State = g.Ending
	if !g.State.Ended() {
		g.State = Stopped
	}
	g.Phase = 0
	g.Running, g.Ready, g.Overdue, g.Lost = false, false, false, false
	g.Deadline, g.RestartAt, g.HoldUntil, g.CutAt = 0, 0, 0, 0
	g.Heir = false
}

// stranded is a connection that reached the slot of an ended generation: the
// active generation's program is started there to serve it.
func (s *State) stranded(g *Generation, at Time) {
	if !g.State.Ended() || g.Slot == 0 {
		return
	}
	rescuer := s.rescuer()
	if s.Halted || rescuer == 0 || g.Rescues >= maxRescues || s.anyAlone() {
		g.Abandoned = true
		return
	}
	g.Rescues++
	g.Ending = g.State
	s.order(g, at)
	g.Program = rescuer
	g.State = Draining
	g.Phase = Patient
	g.Deadline = at.After(g.Policy.ReadyTimeout + g.Policy.DrainTimeout)
}

func (s *State) rescuer() int {
	if a := s.Active(); a != nil {
		return a.Number
	}
	return s.Promoted
}

func (s *State) halt(e Event) error {
	now := e.Type == HaltNow
	if s.Halted && !now {
		return nil
	}
	s.Halted = true
	if s.Upgrading() {
		s.Upgrade.end(UpgradeAborted, ReasonServiceStopped, "the service was stopped")
	}
	for i := range s.Generations {
		g := &s.Generations[i]
		switch {
		case g.State.Ended():
		case g.External && e.Type == HaltOwn:
			g.Ending = Stopped
			g.abandon()
		default:
			g.haltAt(e.At, now)
		}
	}
	return nil
}

func (g *Generation) haltAt(at Time, now bool) {
	ending := Stopped
	if g.State == Starting || g.State == Candidate {
		ending = Failed
	}
	g.drain(ending, at)
	switch {
	case g.State.Ended():
	case now:
		g.kill()
	case g.Phase <= Patient:
		g.Phase = Quiescing
		g.Deadline = at.After(haltQuiesce)
	}
}

func (s *State) endOldest(e Event) error {
	for i := range s.Generations {
		g := &s.Generations[i]
		if g.State == Draining && g.Phase < Killed {
			g.kill()
			return nil
		}
	}
	return ErrNoneDraining
}
