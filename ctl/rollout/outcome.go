package rollout

// Outcome is what became of one target. A rollout that has ended has one of the
// first seven for each.
type Outcome string

// The outcomes of a target.
const (
	OutcomeUpgraded    Outcome = "upgraded"
	OutcomeUnchanged   Outcome = "unchanged"   // ran the release before
	OutcomeRolledBack  Outcome = "rolled-back" // it was given back
	OutcomeFailed      Outcome = "failed"      // its upgrade failed, or its way back
	OutcomeUnreachable Outcome = "unreachable"
	OutcomeSkipped     Outcome = "skipped" // by an operator's word, or another's rollout
	OutcomeNotStarted  Outcome = "not-started"
	// OutcomeInProgress is that of a rollout which goes on, perhaps without this driver.
	OutcomeInProgress Outcome = "in-progress"
)

// Serves is what a target runs after a rollout.
type Serves string

// What a target may run.
const (
	ServesOld     Serves = "predecessor" // as before the rollout
	ServesNew     Serves = "release"     // what the rollout brought
	ServesUnknown Serves = "unknown"
)

// Result is a target's line of the report.
type Result struct {
	Host    string
	Wave    int
	Outcome Outcome
	Serves  Serves
	Reason  string
	Message string
}

// Results has one line for every target, in the order of the plan.
func (s *State) Results() []Result {
	out := make([]Result, len(s.targets()))
	for i := range out {
		h := &s.Hosts[i]
		r := Result{Host: h.Name, Wave: h.Wave, Reason: h.Reason, Message: h.Message}
		r.Outcome, r.Serves = s.became(h)
		out[i] = r
	}
	return out
}

func (s *State) became(h *HostState) (Outcome, Serves) {
	switch h.Progress {
	case Unchanged:
		return OutcomeUnchanged, ServesNew
	case RolledBack:
		return OutcomeRolledBack, ServesOld
	case Stuck:
		return OutcomeFailed, ServesNew
	case Skipped, Elsewhere:
		return OutcomeSkipped, ServesOld
	case Failed:
		if h.Touched && h.Reason == ReasonClaimLost {
			return OutcomeFailed, ServesUnknown
		}
		return OutcomeFailed, ServesOld
	case Upgraded:
		if h.Lost && (s.Phase == Undoing || s.Ending == Undone) {
			return OutcomeUnreachable, ServesNew // it should have gone back
		}
		return OutcomeUpgraded, ServesNew
	}
	switch {
	case h.Lost && (h.Progress.moving() || h.Progress == Waiting && s.Inherited):
		return OutcomeUnreachable, ServesUnknown
	case h.Lost:
		return OutcomeUnreachable, ServesOld
	case h.Progress.moving():
		return OutcomeInProgress, ServesUnknown
	}
	return OutcomeNotStarted, ServesOld
}

// Verdict is what became of a rollout as a whole. Its number is the exit code of
// gracectl.
type Verdict int

// The verdicts.
const (
	Done           Verdict = 0 // every target that takes part runs the release
	NotDone        Verdict = 1 // it ended with nothing touched, or no target took part
	BackCleanly    Verdict = 4 // it failed, and no target is left on the release
	Mixed          Verdict = 5 // it failed, and targets differ, or one is unknown
	DoneButForSome Verdict = 6 // some targets are unreachable, the rest runs the release
	HeldBySomeone  Verdict = 7 // somebody else is at it
	StillUnderWay  Verdict = 8
)

// Verdict sums the results up. Of what is true, the first of 7, 5, 4, 8, 6, 1 counts.
// A failure that the policy tolerates makes a mixed fleet like any other.
func (s *State) Verdict() Verdict {
	var failed, left, lost bool
	absent := true
	for _, r := range s.Results() {
		failed = failed || r.Outcome == OutcomeFailed || r.Outcome == OutcomeRolledBack
		left = left || r.Outcome != OutcomeUnchanged && r.Serves != ServesOld
		lost = lost || r.Outcome == OutcomeUnreachable
		absent = absent && r.Outcome == OutcomeSkipped
	}
	turned := s.Phase == Undoing || s.Ending == Undone || s.Ending == Unprepared
	failed = turned && s.touched() || s.decided() && (failed || s.Ending == Open)
	switch {
	case s.Ending == Refused, s.Ending == Fenced:
		return HeldBySomeone
	case failed && left:
		return Mixed
	case failed && s.touched():
		return BackCleanly
	case s.Phase != Ended:
		return StillUnderWay
	case s.Ending != Completed, failed, absent:
		return NotDone
	case lost:
		return DoneButForSome
	}
	return Done
}

// decided says that nothing changes any more without an operator: the rollout is
// over, or held up by more than an operator's pause with no host in flight.
func (s *State) decided() bool {
	return s.Phase == Ended || s.HeldUp()
}

// HeldUp says that what has gone wrong keeps the rollout from going on, and that no
// reachable host is in flight: its driver may leave, and the claims stay until
// somebody resumes or aborts.
func (s *State) HeldUp() bool {
	switch s.Phase {
	case Rolling, Pausing: // before, others may still get what they lack
		return s.Hold() > ByOperator && s.lane().moving == 0
	}
	return false
}
