package rollout

import "time"

// play is the machine with hosts that answer at once, have the artifact at once and
// take their time to upgrade.
type play struct {
	s     State
	facts Facts
	ends  []Time // of each target's upgrade, once that has begun
	at    Time
}

// begin is when a play begins: 0 would be no instant.
const begin = Time(1)

func newPlay(spec Spec, facts Facts) *play {
	spec.Policy.Manual = false
	return &play{s: New(spec), facts: facts, ends: make([]Time, len(spec.Plan.Targets)), at: begin}
}

// run plays it to the end. It says how long that takes, and fills in how long each
// wave does.
func (p *play) run(waves []WaveEstimate) time.Duration {
	p.claim()
	since, wave := p.at, 0
	for p.s.Phase == Rolling || p.s.Phase == Pausing {
		if p.s.Phase == Pausing {
			waves[wave].Took = time.Duration(p.at - since)
			p.at = p.s.PauseUntil
			p.tell(Event{Type: Tick})
			since, wave = p.at, p.s.Wave
			continue
		}
		p.finishNext()
		if p.s.Phase == Rolling && p.s.Wave != wave { // without a pause
			waves[wave].Took = time.Duration(p.at - since)
			since, wave = p.at, p.s.Wave
		}
	}
	waves[wave].Took = time.Duration(p.at - since)
	return time.Duration(p.at - begin)
}

// upgraded is how long after the begin a target's upgrade ends, in a play that is over.
func (p *play) upgraded(target int) time.Duration {
	return time.Duration(p.ends[target] - begin)
}

func (p *play) tell(e Event) {
	e.At = p.at
	_ = p.s.step(e) // facts are not refused
}

func (p *play) claim() {
	for p.s.Phase == Gating {
		p.claimHost(&p.s.Hosts[p.s.Gates[p.s.Gate]])
	}
	for i := range p.s.targets() {
		if h := &p.s.Hosts[i]; h.Progress == Waiting {
			p.claimHost(h)
		}
	}
}

func (p *play) claimHost(h *HostState) {
	progress := Pushed
	if p.facts.Hosts[h.Name].Unchanged {
		progress = Unchanged
	}
	p.tell(Event{Type: Reported, Host: h.Name, Progress: progress})
}

// finishNext lets the host that is done first be done. While a wave is under way,
// one host at least is.
func (p *play) finishNext() {
	next := -1
	for i, h := range p.s.targets() {
		if h.Progress != Starting {
			continue
		}
		if p.ends[i] == 0 {
			p.ends[i] = p.at.After(p.facts.Upgrade)
		}
		if next < 0 || p.ends[i] < p.ends[next] {
			next = i
		}
	}
	p.at = p.ends[next]
	p.tell(Event{Type: Reported, Host: p.s.Hosts[next].Name, Progress: Upgraded})
}
