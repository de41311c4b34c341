package rollout

import "fmt"

// Hold says what keeps a rollout from beginning anything more.
type Hold uint8

// What holds a rollout up.
const (
	Free           Hold = iota // nothing does
	ByOperator                 // it was paused
	TooManyFailed              // more upgrades failed than may
	TooManyUnready             // with those that could not even begin, it is more
	TooManyLost                // more hosts are unreachable than may be
)

// String is the hold in words.
func (h Hold) String() string {
	return nameOf(int(h), "nothing", "paused by an operator", "too many failures", "too many hosts that could not begin", "too many unreachable hosts")
}

// Hold says what keeps the rollout from beginning anything more. It follows from
// the hosts: one that is back, or that an operator has forgiven, counts no more.
func (s *State) Hold() Hold {
	c := s.count()
	switch {
	case s.Paused:
		return ByOperator
	case s.Phase >= Undoing:
		return Free
	case s.failedTooOften(c):
		return TooManyFailed
	case c.failed+c.untouched > s.mayFail():
		return TooManyUnready
	case c.lost > s.mayLose():
		return TooManyLost
	}
	return Free
}

// stop takes the way back where an operator or the policy wants it. Only upgrades
// that failed do that: neither a source of artifacts nor a network that is down.
func (s *State) stop() bool {
	c := s.count()
	switch {
	case s.Aborting:
		s.undo("")
	case s.Spec.Policy.OnFailure == RollBack && s.failedTooOften(c):
		s.undo(c.tooMany(s))
	default:
		return false
	}
	return true
}

// counts are what budgets are about.
type counts struct {
	failed    int   // upgrades that failed
	perWave   []int // of them, in each wave
	untouched int   // hosts that failed before anything began there
	lost      int
	elsewhere int
	returned  int // hosts on their way back, or there
}

func (s *State) count() counts {
	c := counts{perWave: make([]int, len(s.Spec.Plan.Waves))}
	for _, h := range s.targets() {
		switch {
		case h.Progress == Returning, h.Progress == RolledBack, h.Progress == Stuck:
			c.returned++
		case h.Progress == Elsewhere:
			c.elsewhere++
		case h.Forgiven:
		case h.Progress == Failed && h.Touched:
			c.failed++
			c.perWave[h.Wave]++
		case h.Progress == Failed:
			c.untouched++
		case h.Lost && !h.Progress.over():
			c.lost++
		}
	}
	return c
}

func (s *State) failedTooOften(c counts) bool {
	for w, size := range s.Spec.Plan.Waves {
		if c.perWave[w] > s.Spec.Policy.MaxWaveFailures.Allows(size) {
			return true
		}
	}
	return c.failed > s.mayFail()
}

func (s *State) mayFail() int { return s.Spec.Policy.MaxFailures.Allows(len(s.targets())) }
func (s *State) mayLose() int { return s.Spec.Policy.MaxUnreachable.Allows(len(s.targets())) }

func (c counts) tooMany(s *State) string {
	if c.failed > s.mayFail() {
		return fmt.Sprintf("failed upgrades: %d, of at most %d", c.failed, s.mayFail())
	}
	return fmt.Sprintf("failed upgrades: %d, more in one wave than may", c.failed)
}

func (c counts) unreachable(s *State) string {
	return fmt.Sprintf("unreachable hosts: %d, of at most %d", c.lost, s.mayLose())
}

// resume takes what was counted until now as seen; failed upgrades only where the
// policy holds: where it rolls back, they stay a reason to. Before the hosts have
// answered it is not known yet what was counted.
func (s *State) resume(at Time) error {
	switch {
	case s.Phase <= Claiming:
		s.Resuming = true
	case s.Phase == Undoing && s.Paused:
		s.Paused = false
	case s.Phase == Undoing, s.Hold() == Free:
		return ErrNotHeld
	default:
		s.forgive(at)
	}
	return nil
}

func (s *State) forgive(at Time) {
	s.Paused = false
	for i := range s.targets() {
		h := &s.Hosts[i]
		switch {
		case h.Progress == Failed && h.Reason == ReasonNoArtifact:
			h.Progress, h.Reason, h.Message = Claimed, "", "" // it is tried again
			h.FetchBy = at.After(s.Spec.Policy.FetchTimeout)
		case h.Progress == Failed && (!h.Touched || s.Spec.Policy.OnFailure == HoldOn),
			h.Lost && !h.Progress.over():
			h.Forgiven = true
		}
	}
}
