package rollout

import (
	"fmt"
	"time"
)

// gate asks one host after the other, until one has given its claim.
func (s *State) gate() bool {
	h := &s.Hosts[s.Gates[s.Gate]]
	switch {
	case h.Progress == Elsewhere:
		s.Holder = h.Message
		s.close(Refused, "another rollout has claimed "+h.Name)
	case h.Lost, h.Progress == Skipped, h.Progress == Failed && !h.Asked:
		if s.Gate+1 == len(s.Gates) {
			s.Phase = Claiming // there is nobody left to ask
			return true
		}
		s.Gate++
		s.Hosts[s.Gates[s.Gate]].Asked = true
	case h.Progress == Waiting:
		return false
	default:
		s.Phase = Claiming
		for i := range s.targets() {
			// Who declined or gave it already is not asked again.
			if s.Hosts[i].Progress == Waiting {
				s.Hosts[i].Asked = true
			}
		}
	}
	return true
}

// prepared decides where to go on, once every target has answered or is known to be
// out of reach.
func (s *State) prepared(at Time) bool {
	for _, h := range s.targets() {
		if h.Progress == Waiting && !h.Lost {
			return false
		}
	}
	if s.Resuming || s.Aborting {
		s.Paused = false // as it was found, before that was said
	}
	s.Inherited = s.touched()
	switch c := s.count(); {
	case c.returned > 0:
		s.undo("it was going back when its driver ended")
		return true
	case s.Aborting:
		s.undo("")
		return true
	case !s.Inherited && c.elsewhere > 0:
		s.Holder = s.holder()
		s.close(Refused, fmt.Sprintf("hosts that another rollout has claimed: %d", c.elsewhere))
		return true
	case !s.Inherited && c.lost > s.mayLose():
		s.close(Unprepared, c.unreachable(s))
		return true
	}
	if s.Resuming {
		s.Resuming = false
		s.forgive(at)
	}
	s.Phase = Fetching
	for i := range s.targets() {
		h := &s.Hosts[i]
		if h.Progress == Claimed && !h.Lost {
			h.FetchBy = at.After(s.Spec.Policy.FetchTimeout)
		}
		if h.Touched {
			s.Wave = max(s.Wave, h.Wave)
		}
	}
	return true
}

// holder is who has claimed the first of the hosts that are claimed elsewhere.
func (s *State) holder() string {
	for _, h := range s.targets() {
		if h.Progress == Elsewhere {
			return h.Message
		}
	}
	return ""
}

// reported is what an agent says of its host. An older report that comes late
// tells only that somebody sent it.
func (s *State) reported(h *HostState, e Event) {
	if e.Revision < h.Revision {
		return
	}
	h.Revision = e.Revision
	if s.Phase < Closing {
		h.Lost = false // later it comes too late to take part
	}
	if !h.takes(e.Progress) {
		return
	}
	if h.Progress == Waiting {
		h.Asked = true // also where another driver asked
	}
	if h.Progress != e.Progress || !h.Progress.over() {
		h.Forgiven = false
	}
	h.Progress, h.Reason, h.Message = e.Progress, e.Reason, e.Message
	switch h.Progress {
	case Upgrading, Soaking, Upgraded, Failed, Returning, RolledBack, Stuck:
		h.Touched = true
	}
	switch {
	case h.Progress != Claimed:
		h.FetchBy = 0
	case h.FetchBy == 0 && s.Phase >= Fetching:
		h.FetchBy = e.At.After(s.Spec.Policy.FetchTimeout) // it is late
	}
}

// takes says whether a host that is where it is can be where a report has it.
func (h *HostState) takes(next Progress) bool {
	switch next {
	case Claimed, Pushed, Upgrading, Soaking, Upgraded, Unchanged, Failed, Returning, RolledBack, Stuck:
	default:
		return false // no agent says so
	}
	switch h.Progress {
	case Waiting, Claimed, Pushed:
		return true
	case Starting:
		return next != Claimed && next != Pushed // sent before it was told
	case Upgrading, Soaking:
		return next != Claimed // Pushed: the agent took it back, having no driver
	case Upgraded:
		// Later it may crash and go back by itself; or somebody has it go back.
		return next == Upgraded || next == Failed || next == Returning || next == RolledBack || next == Stuck
	case Returning:
		return next == Failed || next == RolledBack || next == Stuck
	}
	return next == h.Progress
}

// elsewhere is a host that another rollout has claimed.
func (h *HostState) elsewhere(e Event) {
	if h.Progress != Waiting {
		return
	}
	h.Progress, h.Reason, h.Message = Elsewhere, ReasonHeld, e.Message
	h.Asked, h.Lost = false, false
}

// declined is a host that takes no part: frozen, or without the service. Nothing
// began there, also where it was told to.
func (h *HostState) declined(e Event) {
	switch h.Progress {
	case Waiting:
		h.Asked = false
	case Claimed, Pushed, Starting:
	default:
		return
	}
	h.Progress, h.Reason, h.Message = Skipped, e.Reason, e.Message
	h.Lost, h.Touched = false, false
}

// denied is a host that refuses, and would again. What was only asked for its claim or
// told to begin has failed; what should go back cannot.
func (h *HostState) denied(e Event) {
	switch h.Progress {
	case Waiting:
		h.Progress, h.Asked = Failed, false
	case Claimed, Pushed, Starting:
		h.Progress = Failed
	case Returning:
		h.Progress = Stuck
	default:
		return
	}
	h.Reason, h.Message = e.Reason, e.Message
	h.Lost, h.FetchBy = false, 0
}

// unreachable is a host that does not answer. What it was at, it may be at still.
func (h *HostState) unreachable(e Event) {
	h.Lost, h.FetchBy = true, 0
	if !h.Progress.over() {
		h.Message = e.Message
	}
}

// forgotten is a host that lost what it knew, with its disk. What runs there is
// anybody's guess: it is not gone on with.
func (h *HostState) forgotten(e Event) {
	h.Asked = false // there is nothing to give up
	if h.Progress == Waiting || h.Progress.over() && h.Progress != Upgraded {
		return
	}
	h.Progress, h.Reason, h.Message = Failed, ReasonClaimLost, e.Message
	h.Lost = false
}

// late is that a host has no artifact in time, and what was heard of that last.
func (h *HostState) late(limit time.Duration) string {
	text := "no artifact within " + limit.String()
	if h.Message != "" {
		text += ": " + h.Message
	}
	return text
}

func (h *HostState) noArtifact(message string) {
	h.Progress, h.Reason, h.Message = Failed, ReasonNoArtifact, message
	h.FetchBy = 0
}
