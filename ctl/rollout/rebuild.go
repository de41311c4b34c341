package rollout

// Rebuild is what is known of a rollout by asking its hosts alone, without claiming
// or changing anything: what each reported last, as Events of type Reported, Held,
// Declined, Forgotten and Unreachable, and Released of one whose claim
// was given up. Hosts that nothing is said of count as unreachable; one that answers and
// has no part is Forgotten.
//
// It is for those who look. A driver that goes on begins with New: the claims it
// makes tell it the same, and keep others away.
func Rebuild(spec Spec, reports []Event, at Time) State {
	s := New(spec)
	ending := Open
	answered := make(map[string]bool, len(reports))
	for _, e := range reports {
		answered[e.Host] = true
		s.fact(e)
		if e.Type == Released {
			ending = e.Ending
		}
	}
	for i := range s.Hosts {
		if h := &s.Hosts[i]; h.Progress == Waiting && !answered[h.Name] {
			h.Lost = true
		}
	}
	if s.Inherited = s.touched(); ending != Open {
		s.close(ending, "")
		s.closed()
		return s
	}
	for s.Phase <= Claiming && s.settle(at) {
	}
	return s
}
