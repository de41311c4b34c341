package service

// SameProgram says whether two specifications run an artifact alike: they differ at
// most in which one it is, where it is reached, and how generations come and go. What
// else a specification has, or will have, can decide what code runs, and as whom.
func SameProgram(a, b Spec) bool { return ETag(a.program()) == ETag(b.program()) }

func (s Spec) program() Spec {
	s.Artifact, s.Sockets, s.Drain, s.Restart, s.KeepGenerations = "", nil, Drain{}, Restart{}, 0
	s.Upgrade = Upgrade{Check: s.Upgrade.Check}
	return s
}
