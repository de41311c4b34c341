package rollout

import (
	"slices"
	"time"
)

// Time is an instant in nanoseconds of a clock that never goes back, as events
// bring it; the machine itself has no clock. 0 means none.
type Time int64

// After is the instant d later.
func (t Time) After(d time.Duration) Time { return t + Time(d) }

// Phase is what a rollout is at.
type Phase uint8

// The phases of a rollout.
const (
	Gating   Phase = 1 + iota // one host is claimed, which decides between operators
	Claiming                  // every host is claimed, and says how far it is
	Fetching                  // every host gets the artifact
	Rolling                   // a wave is under way
	Pausing                   // between two waves
	Undoing                   // touched hosts go back
	Closing                   // claims are given up
	Ended                     // nothing more is done
)

// String is the phase in a word.
func (p Phase) String() string {
	return nameOf(int(p), "none", "gating", "claiming", "fetching", "rolling", "pausing", "undoing", "closing", "ended")
}

// Progress is how far one host is.
type Progress uint8

// The progress of a host. What an agent reports it wrote down before: that stays
// after a restart, of the agent or of the driver.
const (
	Waiting    Progress = iota // nothing is known of it
	Elsewhere                  // another rollout has claimed it
	Claimed                    // claimed; lacks the artifact
	Pushed                     // has the artifact; nothing has begun
	Starting                   // told to begin
	Upgrading                  // its upgrade has begun
	Soaking                    // the new generation has every new connection
	Upgraded                   // the new generation is promoted
	Unchanged                  // ran the release before this rollout
	Failed                     // its upgrade failed, and it went back by itself; or it never got so far
	Returning                  // told to go back
	RolledBack                 // serves its predecessor again
	Stuck                      // could not go back
	Skipped                    // does not take part, by an operator's word
)

// String is the progress in a word.
func (p Progress) String() string {
	return nameOf(int(p), "waiting", "elsewhere", "claimed", "pushed", "starting", "upgrading", "soaking", "upgraded", "unchanged",
		"failed", "returning", "rolled-back", "stuck", "skipped")
}

// over says that going forward ends here.
func (p Progress) over() bool {
	switch p {
	case Elsewhere, Upgraded, Unchanged, Failed, RolledBack, Stuck, Skipped:
		return true
	}
	return false
}

// moving says that the host's capacity may be reduced: generations change.
func (p Progress) moving() bool {
	return p == Starting || p == Upgrading || p == Soaking || p == Returning
}

// Ending is how a rollout ended.
type Ending uint8

// The endings of a rollout.
const (
	Open       Ending = iota // not at all yet
	Completed                // every wave is through
	Undone                   // given back, by an operator or after failures
	Refused                  // somebody else has the hosts
	Unprepared               // too few hosts could take part; nothing was touched
	Fenced                   // another driver has taken over: it goes on there
)

// String is the ending in a word.
func (e Ending) String() string {
	return nameOf(int(e), "open", "completed", "undone", "refused", "unprepared", "fenced")
}

// ParseEnding reads what String writes; Open for any other text.
func ParseEnding(text string) Ending {
	for e := Completed; e <= Fenced; e++ {
		if e.String() == text {
			return e
		}
	}
	return Open
}

// Reasons that the machine itself gives.
const (
	ReasonNoArtifact = "ARTIFACT_UNAVAILABLE"
	ReasonClaimLost  = "CLAIM_LOST"
	ReasonHeld       = "HELD"
)

// HostState is what the driver knows of one host.
type HostState struct {
	Name string
	// Wave is the host's wave, from 0; -1 of one that is no target and only claimed.
	Wave     int
	Zone     string
	Release  int
	Progress Progress
	// Asked says that the host was asked for its claim and may have given it.
	Asked bool
	// Lost says that the host cannot be reached.
	Lost bool
	// Forgiven failures and losses count no more: an operator saw them.
	Forgiven bool
	// Touched says that an upgrade began there, or was ordered.
	Touched bool
	// Revision is that of the last report; older ones came late.
	Revision int64
	// Heard is the revision of the last word that was found on its claim.
	Heard int64
	// FetchBy is when the host must have the artifact.
	FetchBy Time
	Reason  string
	Message string
}

// State is one rollout as its driver sees it. It is made by New.
type State struct {
	Spec  Spec // never changed
	Phase Phase
	// Hosts are the targets in the order of the plan, then the hosts that only decide
	// between operators.
	Hosts []HostState
	// Gates are indexes of Hosts in the order in which they are asked, and never
	// changed; Gate is the place of the one whose turn it is.
	Gates []int
	Gate  int
	// Wave is the wave that is under way, or the last that was.
	Wave int
	// PauseUntil is when the next wave begins by itself.
	PauseUntil Time
	// Paused is an operator's emergency stop.
	Paused bool
	// Heard is the last word that operators left on the claims.
	Heard Control
	// Aborting is an operator's wish to give everything back.
	Aborting bool
	// Resuming is an operator's wish to go on, said before it is known from where.
	Resuming bool
	Ending   Ending
	// Why says what decided the ending, or the way back.
	Why string
	// Holder is who else drives, or has claimed the hosts.
	Holder string
	// Inherited says that hosts were touched before this driver came.
	Inherited bool

	index map[string]int // of Hosts by name; never changed
}

// New is a rollout whose driver knows nothing yet: at its beginning, or anywhere
// later. What the hosts say when they are claimed decides where it goes on. The spec
// comes from NewSpec or Decode.
func New(spec Spec) State {
	index := make(map[string]int, len(spec.Plan.Targets)+len(spec.Gates))
	s := State{Spec: spec, Phase: Gating, index: index}
	for i, t := range spec.Plan.Targets {
		s.Hosts = append(s.Hosts, HostState{Name: t.Name, Wave: spec.Plan.Wave(i), Zone: t.Zone, Release: t.Release})
		index[t.Name] = i
	}
	for _, name := range spec.Gates {
		if _, target := index[name]; !target {
			index[name] = len(s.Hosts)
			s.Hosts = append(s.Hosts, HostState{Name: name, Wave: -1})
		}
	}
	// The targets follow by name, whatever the order of the plan.
	names := make([]string, len(spec.Plan.Targets))
	for i, t := range spec.Plan.Targets {
		names[i] = t.Name
	}
	slices.Sort(names)
	for _, name := range append(slices.Clone(spec.Gates), names...) {
		if !slices.Contains(s.Gates[:min(len(s.Gates), MaxGates)], index[name]) {
			s.Gates = append(s.Gates, index[name])
		}
	}
	s.Hosts[s.Gates[0]].Asked = true
	return s
}

// Clone is a copy that shares nothing but what never changes.
func (s State) Clone() State {
	s.Hosts = slices.Clone(s.Hosts)
	return s
}

// targets are the hosts that the rollout is meant for.
func (s *State) targets() []HostState { return s.Hosts[:len(s.Spec.Plan.Targets)] }

// Host is a host by its name, nil when the rollout has none of it. It is not to be
// changed.
func (s *State) Host(name string) *HostState {
	if i, ok := s.index[name]; ok {
		return &s.Hosts[i]
	}
	return nil
}

// touched says whether anything was done to any host.
func (s *State) touched() bool {
	return slices.ContainsFunc(s.targets(), func(h HostState) bool { return h.Touched })
}

// nameOf is the name of a number.
func nameOf(n int, names ...string) string {
	if n < len(names) {
		return names[n]
	}
	return "unknown"
}
