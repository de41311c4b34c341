package lifecycle

import "errors"

// Why Step refuses a command.
var (
	ErrUpgrading      = errors.New("an upgrade is in progress")
	ErrNotUpgrading   = errors.New("no upgrade is in progress")
	ErrNotReady       = errors.New("the new generation is not ready yet")
	ErrNoStep         = errors.New("the upgrade is in no canary step")
	ErrHalted         = errors.New("the service is stopped")
	ErrRunning        = errors.New("the service is running")
	ErrClosing        = errors.New("the last generation is still ending")
	ErrNothingToStart = errors.New("no generation was ever promoted")
	ErrTooMany        = errors.New("too many generations are alive")
	ErrNoneDraining   = errors.New("no generation is draining")
	ErrAdopting       = errors.New("a running program is being adopted, which ends in a moment")
	ErrHasOwn         = errors.New("it has generations of its own")
	ErrNotAlone       = errors.New("an adopted program runs beside its successor until that has proved itself: upgrade.overlap: none is for the agent's own")
	ErrNotExternal    = errors.New("its program was not adopted")
)

// Step answers an event with the next state. It never changes the state it was
// given. The error is the refusal of a command; facts are never refused.
func Step(old State, e Event) (State, error) {
	s := old.Clone()
	if e.Type < Booted {
		if err := s.command(e); err != nil {
			return old, err
		}
		return s, nil
	}
	s.fact(e)
	s.roomMade(e.At)
	return s, nil
}

func (s *State) command(e Event) error {
	switch e.Type {
	case Begin:
		return s.begin(e)
	case Promote:
		return s.promoteCommand(e)
	case PromoteStep:
		return s.promoteStep(e)
	case Abort:
		return s.abort(e)
	case Halt, HaltNow, HaltOwn:
		return s.halt(e)
	case Resume:
		return s.resume(e)
	case EndOldest:
		return s.endOldest(e)
	case LetGo:
		return s.letGo(e)
	case HoldSoak, FreeSoak:
		return s.holdSoak(e)
	}
	return nil
}

func (s *State) fact(e Event) {
	switch e.Type {
	case Booted:
		s.booted(e)
		return
	case Tick:
		s.tick(e.At)
		return
	}
	g := s.Generation(e.Generation)
	if g == nil {
		return
	}
	switch e.Type {
	case Adopted:
		s.adopted(g, e)
	case Started:
		if g.awaits(e.Instance) {
			g.Running = true
		}
	case StartFailed, Exited:
		if g.awaits(e.Instance) {
			s.exited(g, e)
		}
	case BecameReady:
		if g.awaits(e.Instance) && g.Running && !g.Lost && g.Program == g.Number {
			s.becameReady(g, e.At)
		}
	case Fault:
		s.fault(g, e)
	case Saw:
		s.saw(g, e)
	case Quiesced:
		s.quiesced(g, e.At)
	case Idle:
		if g.State == Draining && g.Phase == Patient && !s.standsIn(g) {
			g.signal(e.At)
		}
	case Stranded:
		s.stranded(g, e.At)
	case Released:
		if g.State.Ended() {
			s.remove(g.Number)
		}
	}
}

// awaits says whether facts about an instance still count: it is the current one
// and was not yet seen to end.
func (g *Generation) awaits(instance int) bool {
	return instance == g.Instance && !g.State.Ended() && g.RestartAt == 0
}
