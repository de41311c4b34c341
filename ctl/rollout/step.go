package rollout

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// maxWhy bounds what hosts are told of why they go back: they take 1 KiB.
const maxWhy = 500

// Why Step refuses a command.
var (
	ErrOver       = errors.New("the rollout is over")
	ErrUndoing    = errors.New("the rollout is going back already")
	ErrNotPausing = errors.New("the rollout is not between two waves")
	ErrPaused     = errors.New("the rollout is paused already")
	ErrNotHeld    = errors.New("nothing holds the rollout up")
	ErrHeldUp     = errors.New("the rollout is held up: it must be resumed first")
)

// Step answers an event with the next state. It never changes the state it was
// given. The error is the refusal of a command; facts are never refused.
func Step(old State, e Event) (State, error) {
	if old.knows(e) {
		return old, nil
	}
	s := old.Clone()
	if err := s.step(e); err != nil {
		return old, err
	}
	return s, nil
}

// knows says that a report only repeats the one before, as every second one does: all
// that is under way on a host hears of it. What is due by now, a Tick tells.
func (s *State) knows(e Event) bool {
	h := s.Host(e.Host)
	if h == nil || e.Type != Reported || h.Lost || h.Forgiven || e.Control.Revision > h.Heard {
		return false
	}
	same := e.Revision == h.Revision && e.Progress == h.Progress && e.Reason == h.Reason && e.Message == h.Message
	return same && (h.Progress == Pushed || h.Progress == Unchanged || h.Progress > Starting && h.Touched)
}

// step is Step in place.
func (s *State) step(e Event) error {
	switch {
	case e.Type >= Reported && s.Phase == Ended:
		return nil
	case e.Type >= Reported:
		s.fact(e)
	default:
		if err := s.command(e); err != nil {
			return err
		}
	}
	for s.settle(e.At) {
	}
	return nil
}

func (s *State) command(e Event) error {
	if s.Phase >= Closing {
		return ErrOver
	}
	switch e.Type {
	case Promote:
		switch {
		case s.Phase != Pausing:
			return ErrNotPausing
		case s.Hold() != Free:
			return ErrHeldUp
		}
		s.nextWave()
	case Pause:
		if s.Paused {
			return ErrPaused
		}
		s.Paused = true
	case Resume:
		return s.resume(e.At)
	case Abort:
		if s.Aborting || s.Phase == Undoing {
			return ErrUndoing
		}
		s.abort(e.Message)
	}
	return nil
}

// abort has every touched host go back; why is empty where nobody said that.
func (s *State) abort(why string) {
	s.Aborting, s.Paused = true, false
	why = cmp.Or(why, "aborted by an operator")
	s.Why = strings.ToValidUTF8(why[:min(len(why), maxWhy)], "")
}

func (s *State) fact(e Event) {
	if e.Type == Overtaken {
		s.Phase, s.Ending, s.Holder = Ended, Fenced, e.Message
		s.Why = "another driver has it"
		return
	}
	if e.Type == Tick {
		s.tick(e.At)
		return
	}
	h := s.Host(e.Host)
	if h == nil {
		return
	}
	switch e.Type {
	case Reported:
		s.heed(e)
		s.reported(h, e)
	case Held:
		h.elsewhere(e)
	case Declined:
		h.declined(e)
	case Denied:
		h.denied(e)
	case Forgotten:
		h.forgotten(e)
	case Unreachable:
		h.unreachable(e)
	case FetchFailed:
		if h.Progress == Claimed {
			h.noArtifact(e.Message)
		}
	case FetchDelayed:
		if h.Progress == Claimed {
			h.Message = e.Message
		}
	case Released:
		s.reported(h, e) // the last word
		h.Asked = false
	}
}

// settle goes on as far as is known; it says whether there may be more.
func (s *State) settle(at Time) bool {
	switch s.Phase {
	case Gating:
		return s.gate()
	case Claiming:
		return s.prepared(at)
	case Fetching, Rolling, Pausing:
		return s.stop() || s.forward(at)
	case Undoing:
		return s.back()
	case Closing:
		s.closed()
	}
	return false
}

func (s *State) forward(at Time) bool {
	switch s.Phase {
	case Fetching:
		return s.fetched()
	case Rolling:
		return s.roll(at)
	}
	switch {
	case s.unfinished():
		s.Phase, s.PauseUntil = Rolling, 0 // a host of it came back
	case (due(s.PauseUntil, at) || s.promoted()) && s.Hold() == Free:
		s.nextWave()
	default:
		return false
	}
	return true
}

// close gives the claims up.
func (s *State) close(e Ending, why string) {
	s.Phase, s.Ending = Closing, e
	if s.Why == "" {
		s.Why = why
	}
}

// closed ends the rollout once nobody is left to be told.
func (s *State) closed() {
	if !slices.ContainsFunc(s.Hosts, func(h HostState) bool { return h.Asked && !h.Lost }) {
		s.Phase = Ended
	}
}
