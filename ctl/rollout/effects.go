package rollout

import "slices"

// EffectKind names something that has to be under way.
type EffectKind uint8

// The effects. Each is idempotent: it may be started again at any time. Any of them
// may report Unreachable, once, and goes on trying, and Overtaken.
const (
	// Claim asks the host for its claim, storing the spec there; Reported, Held,
	// Declined, Denied.
	Claim EffectKind = 1 + iota
	// Lease keeps the driver's lease on the host and hears how it is; Reported,
	// Forgotten. Hosts that move have one, so that their agents know of a driver, and
	// one that hears what operators say; the others are safe by the epoch alone.
	Lease
	// Fetch brings the release's artifact to the host; Reported, FetchFailed.
	Fetch
	// Upgrade has the host begin, and follows it; Reported, Declined, Denied.
	Upgrade
	// Follow hears from time to time how a host is that was upgraded, while its wave is
	// looked at, without a lease; Reported, Forgotten.
	Follow
	// Undo has the host return to its predecessor: by an abort, a rollback, or by not
	// beginning; Reported, Denied.
	Undo
	// GiveUp gives the host's claim up, which notes how the rollout ended; Released.
	GiveUp
)

// String is the effect in a word.
func (k EffectKind) String() string {
	return nameOf(int(k), "none", "claim", "lease", "fetch", "upgrade", "follow", "undo", "give up")
}

// Effect is one thing that has to be under way. It is comparable: an effect that is
// in the Effects of two states in a row just goes on.
type Effect struct {
	Kind    EffectKind
	Host    string
	Release int // index of Spec.Releases, of a Fetch and an Upgrade
	// Listens says of a Lease that operators' words are heard there, and soon.
	Listens bool
	// Ending is what a GiveUp has the claim note.
	Ending Ending
}

// Effects lists what has to be under way in this state, in the order of the hosts.
func (s *State) Effects() []Effect {
	if s.Phase == Ended {
		return nil
	}
	var out []Effect
	listens := s.listening()
	for i := range s.Hosts {
		h := &s.Hosts[i]
		if kind := s.effectOn(h); kind != 0 {
			e := Effect{Kind: kind, Host: h.Name, Ending: s.Ending}
			if kind == Fetch || kind == Upgrade {
				e.Release = h.Release
			}
			out = append(out, e)
		}
		heard := slices.Contains(listens, i)
		if s.Phase != Closing && h.claimed() && (heard || h.Progress.moving()) {
			out = append(out, Effect{Kind: Lease, Host: h.Name, Listens: heard})
		}
	}
	return out
}

// effectOn is what brings one host further; 0 when nothing has to.
func (s *State) effectOn(h *HostState) EffectKind {
	if s.Phase == Closing {
		if h.Asked && !s.owes(h) && !s.goesLast(h) {
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
	case Upgraded:
		if (s.Phase == Rolling || s.Phase == Pausing) && h.Wave == s.Wave {
			return Follow
		}
	case Returning:
		return Undo
	}
	return 0
}

// listening are the hosts where operators' words are heard: the one that decided who
// drives, and while that is out of reach the next that has given its claim.
func (s *State) listening() []int {
	gate := s.Gates[s.Gate]
	var out []int
	if h := &s.Hosts[gate]; h.claimed() {
		out = append(out, gate)
		if !h.Lost {
			return out
		}
	}
	for _, i := range s.Gates {
		if h := &s.Hosts[i]; h.claimed() && !h.Lost {
			return append(out, i)
		}
	}
	return out
}

// claimed says that the host gave its claim, as far as is known.
func (h *HostState) claimed() bool { return h.Asked && h.Progress != Waiting }

// goesLast says that the host decided who drives, and that others are to be given up
// first: until then nobody else begins.
func (s *State) goesLast(h *HostState) bool {
	return h == &s.Hosts[s.Gates[s.Gate]] && slices.ContainsFunc(s.Hosts, func(o HostState) bool {
		return o.Asked && !o.Lost && o.Name != h.Name
	})
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
	if s.Phase >= Undoing {
		return // nobody waits for artifacts any more
	}
	for i := range s.targets() {
		if h := &s.Hosts[i]; h.Progress == Claimed && due(h.FetchBy, at) {
			h.noArtifact(h.late(s.Spec.Policy.FetchTimeout))
		}
	}
}
