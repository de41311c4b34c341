package lifecycle

import "fmt"

// exited is a program that ended, or could not be started.
func (s *State) exited(g *Generation, e Event) {
	ran := g.Running
	wasReady := g.Ready
	if g.Lost {
		e.Message = g.Message + "; then " + e.Message
	}
	g.Running, g.Ready, g.Lost = false, false, false
	switch {
	case g.Heir && !s.Halted:
		s.takeSlot(g, *s.Back, e.At)
	case g.State == Draining:
		g.end()
	case s.proving(g):
		s.giveBack(UpgradeFailed, exitReason(e, wasReady), e.Message, e.At)
	default:
		s.startFailed(g, exitReason(e, wasReady), e.Message)
		s.crashed(g, e, ran && wasReady)
	}
}

// startFailed tells that a start did not succeed; the generation is tried again.
func (s *State) startFailed(g *Generation, r Reason, message string) {
	if s.Upgrading() && s.Upgrade.To == g.Number && s.Upgrade.Kind == KindStart {
		s.Upgrade.end(UpgradeFailed, r, message)
	}
}

// proving says whether the generation's death turns it away. One that an
// automatic rollback or a start brought back is all there is: it is restarted.
func (s *State) proving(g *Generation) bool {
	return s.Upgrading() && s.Upgrade.To == g.Number &&
		s.Upgrade.Kind != KindAutoRollback && s.Upgrade.Kind != KindStart
}

func exitReason(e Event, wasReady bool) Reason {
	switch {
	case e.Reason != "":
		return e.Reason
	case wasReady:
		return ReasonCandidateDied
	default:
		return ReasonExitedEarly
	}
}

func (s *State) crashed(g *Generation, e Event, wasReady bool) {
	g.Message = e.Message
	if !g.Policy.Restart.Wanted(e.Clean && e.Type == Exited) {
		g.Ending = Stopped
		if !e.Clean {
			g.Ending = Failed
		}
		g.end()
		return
	}
	if wasReady && e.At-g.StartedAt >= Time(shortRun) {
		g.Crashes = 0
	}
	g.Crashes++
	if s.loops(g, e.At) {
		s.autoRollback(g, e.At)
		return
	}
	g.Restarts++
	g.Deadline = 0
	g.Overdue = false
	g.RestartAt = e.At.After(g.Policy.Restart.Delay(g.Crashes))
	if g.HoldUntil == 0 && !g.Refusing {
		g.HoldUntil = e.At.After(g.Policy.Restart.Hold)
	}
}

func (s *State) loops(g *Generation, at Time) bool {
	return g.State == Active && !s.Upgrading() && s.hasFallback() &&
		g.Crashes >= crashLoop && at < g.WindowEnd
}

func (s *State) hasFallback() bool {
	if s.Fallback == nil {
		return false
	}
	g := s.Generation(s.Fallback.Number)
	return !s.Fallback.External || (g != nil && g.serves())
}

// autoRollback returns to the fallback: to its program where it still serves,
// else on the slot of the crashed generation, whose queue it takes over.
func (s *State) autoRollback(g *Generation, at Time) {
	t := *s.Fallback
	message := fmt.Sprintf("generation %d crashed %d times in a row: %s", g.Number, g.Crashes, g.Message)
	u := &Upgrade{
		ID: fmt.Sprintf("auto-%d", s.LastNumber+1), Kind: KindAutoRollback, State: UpgradeSucceeded,
		From: g.Number, To: t.Number, Target: t.Number, Reason: ReasonCrashLoop, Message: message,
	}
	s.Upgrade = u
	s.Fallback = nil
	g.Reason, g.Message, g.Ending = ReasonCrashLoop, message, Failed
	if alive := s.Generation(t.Number); alive != nil && alive.serves() {
		g.end()
		alive.activate()
		s.Promoted = alive.Number
		return
	}
	u.State = UpgradeStarting
	s.takeSlot(g, t, at)
	u.To = s.LastNumber
}

// takeSlot starts a good generation again on the slot of one whose program is
// gone, with the queue that waits there.
func (s *State) takeSlot(g *Generation, t Target, at Time) {
	s.LastNumber++
	next := Generation{
		Number: s.LastNumber, Slot: g.Slot, State: Active, Policy: t.Policy, Alone: g.Alone,
		Instance: g.Instance, HoldUntil: g.HoldUntil, Refusing: g.Refusing,
	}
	s.Promoted = s.LastNumber
	s.Back = nil
	s.remove(g.Number)
	s.add(next, at)
}
