package rollout

import "time"

// begin is the instant at which a play begins; 0 would be none.
const begin Time = 1

// play runs the machine with hosts that answer at once, get the artifact at once
// and take their time to upgrade. It says how long that takes, and fills in how
// long each wave does.
func play(spec Spec, facts Facts, took []time.Duration, waves []WaveEstimate) time.Duration {
	spec.Policy.Manual = false
	s := New(spec)
	at := begin
	tell := func(i int, t EventType, p Progress) {
		// A command could be refused; facts are not.
		_ = s.step(Event{Type: t, At: at, Host: s.Hosts[i].Name, Progress: p})
	}
	for s.Phase == Gating {
		tell(s.Gates[s.Gate], Reported, has(facts, s.Hosts[s.Gates[s.Gate]].Name))
	}
	for i := range s.targets() {
		if s.Hosts[i].Progress == Waiting {
			tell(i, Reported, has(facts, s.Hosts[i].Name))
		}
	}
	ends := make([]Time, len(took))
	since, wave := at, 0
	for s.Phase == Rolling || s.Phase == Pausing {
		if s.Wave != wave {
			since, wave = at, s.Wave
		}
		if s.Phase == Pausing {
			waves[wave].Took = time.Duration(at - since)
			at = max(at, s.PauseUntil)
			_ = s.step(Event{Type: Tick, At: at})
			continue
		}
		next := -1
		for i := range s.targets() {
			if s.Hosts[i].Progress != Starting {
				continue
			}
			if ends[i] == 0 {
				ends[i] = at.After(took[i])
			}
			if next < 0 || ends[i] < ends[next] {
				next = i
			}
		}
		if next < 0 {
			break
		}
		at = ends[next]
		tell(next, Reported, Upgraded)
	}
	waves[wave].Took = time.Duration(at - since)
	return time.Duration(at - begin)
}

func has(facts Facts, host string) Progress {
	if facts.Hosts[host].Unchanged {
		return Unchanged
	}
	return Pushed
}
