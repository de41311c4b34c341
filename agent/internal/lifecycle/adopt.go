package lifecycle

// adopted takes over what a slot's keeper says of its program: it may have been
// restarted while nobody watched. Clean says that the instance runs, Count how
// often it was restarted unseen.
func (s *State) adopted(g *Generation, e Event) {
	if g.State.Ended() {
		return
	}
	if e.Instance != g.Instance {
		g.Instance, g.External = e.Instance, false
		g.Ready = false
		g.StartedAt = e.At
		g.Deadline = e.At.After(g.Policy.ReadyTimeout)
	}
	g.Restarts += e.Count
	g.RestartAt = 0
	g.Running = e.Clean
	g.Ready = g.Ready && e.Clean
}
