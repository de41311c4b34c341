package lifecycle

// Full is the whole of all new connections in basis points.
const Full = 10000

// Weights says which slots receive new connections, in basis points; the sum is
// Full, or there is no slot at all. A slot whose program died has no weight as
// long as another generation accepts.
func (s *State) Weights() map[int]int {
	if g := s.newcomer(); g != nil {
		return map[int]int{g.Slot: Full}
	}
	if w := s.canaryWeights(); w != nil {
		return w
	}
	if g := s.receiver(); g != nil {
		return map[int]int{g.Slot: Full}
	}
	return map[int]int{}
}

func (s *State) canaryWeights() map[int]int {
	u := s.Upgrade
	if !s.Upgrading() || u.State != UpgradeCanary {
		return nil
	}
	from, to := s.old(), s.Generation(u.To)
	if from == nil || to == nil || !from.serves() || !to.serves() {
		return nil
	}
	share := u.Plan.Steps[u.Step-1].Weight
	return map[int]int{from.Slot: Full - share, to.Slot: share}
}

// receiver is the generation that takes everything: the best that serves, else
// the one that will serve soonest.
func (s *State) receiver() *Generation {
	for _, state := range []GenerationState{Active, Standby, Candidate, Draining} {
		for i := len(s.Generations) - 1; i >= 0; i-- {
			if g := &s.Generations[i]; g.State == state && g.serves() {
				return g
			}
		}
	}
	for _, state := range []GenerationState{Active, Standby, Starting, Draining} {
		for i := len(s.Generations) - 1; i >= 0; i-- {
			if g := &s.Generations[i]; g.State == state && g.Slot != 0 {
				return g
			}
		}
	}
	return nil
}
