package rollout

// EffectKind names something that has to be under way.
type EffectKind uint8

// The effects. Each is idempotent: it may be started again at any time. Any of them
// may report Unreachable, once, and goes on trying, and Overtaken.
const (
	// Claim asks the host for its claim, storing the spec there; Reported, Held,
	// Declined.
	Claim EffectKind = 1 + iota
	// Lease keeps the driver's lease on the host and hears how it is; Reported,
	// Forgotten.
	Lease
	// Fetch brings the release's artifact to the host; Reported, FetchFailed.
	Fetch
	// Upgrade has the host begin, and follows it; Reported.
	Upgrade
	// Undo has the host return to its predecessor: by an abort, a rollback, or by not
	// beginning; Reported.
	Undo
	// GiveUp gives the host's claim up, which notes how the rollout ended; Released.
	GiveUp
)

// String is the effect in a word.
func (k EffectKind) String() string {
	return nameOf(int(k), "none", "claim", "lease", "fetch", "upgrade", "undo", "give up")
}

// Effect is one thing that has to be under way. It is comparable: an effect that is
// in the Effects of two states in a row just goes on.
type Effect struct {
	Kind    EffectKind
	Host    string
	Release int // index of Spec.Releases, of a Fetch and an Upgrade
	// Paused is what a Lease has the claim say.
	Paused bool
	// Ending is what a GiveUp has the claim note.
	Ending Ending
}

// Effects lists what has to be under way in this state, in the order of the hosts.
func (s *State) Effects() []Effect {
	if s.Phase == Ended {
		return nil
	}
	var out []Effect
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if kind := s.effectOn(h); kind != 0 {
			e := Effect{Kind: kind, Host: h.Name, Ending: s.Ending}
			if kind == Fetch || kind == Upgrade {
				e.Release = h.Release
			}
			out = append(out, e)
		}
		if h.Asked && h.Progress != Waiting && s.Phase != Closing {
			out = append(out, Effect{Kind: Lease, Host: h.Name, Paused: s.Paused && !s.Resuming})
		}
	}
	return out
}

// effectOn is what brings one host further; 0 when nothing has to.
func (s *State) effectOn(h *HostState) EffectKind {
	if s.Phase == Closing {
		if h.Asked && !s.owes(h) {
			return GiveUp
		}
		return 0
	}
	switch h.Progress {
	case Waiting:
		// The one whose turn it is; later, late ones too.
		turn := s.Phase == Gating && h == &s.Hosts[s.Gates[s.Gate]]
		if turn || s.Phase > Gating && s.Phase < Undoing && h.Wave >= 0 {
			return Claim
		}
	case Claimed:
		if s.Phase >= Fetching && s.Phase < Undoing && h.Wave >= 0 {
			return Fetch
		}
	case Starting, Upgrading, Soaking:
		return Upgrade
	case Returning:
		return Undo
	}
	return 0
}

// owes says that an unreachable host is not where the rollout wants it: its claim
// stays, so that whoever resumes finds it.
func (s *State) owes(h *HostState) bool {
	return h.Lost && (h.Progress.moving() || h.Progress == Upgraded && s.Ending == Undone)
}

// Timer is the next instant at which a Tick has something to do; 0 when there is
// none.
func (s *State) Timer() Time {
	var next Time
	if s.Phase == Pausing && s.Hold() == Free {
		next = s.PauseUntil
	}
	if s.Phase >= Undoing {
		return 0
	}
	for _, h := range s.targets() {
		if h.Progress == Claimed && h.FetchBy != 0 && (next == 0 || h.FetchBy < next) {
			next = h.FetchBy
		}
	}
	return next
}

func due(t, at Time) bool { return t != 0 && at >= t }

func (s *State) tick(at Time) {
	for i := range s.targets() {
		if h := &s.Hosts[i]; h.Progress == Claimed && due(h.FetchBy, at) {
			h.noArtifact("no artifact within " + s.Spec.Policy.FetchTimeout.String())
		}
	}
}
