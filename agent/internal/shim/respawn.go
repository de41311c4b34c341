package shim

import (
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// scheduleRespawn plans a restart, if it is the shim's to do: no agent is there,
// the program ended untold, policy and budget allow it.
func (s *server) scheduleRespawn() {
	if !s.mayRespawn() {
		return
	}
	wait := s.backoff()
	if s.respawn == nil {
		s.respawn = time.AfterFunc(wait, s.respawnNow)
		return
	}
	s.respawn.Reset(wait)
}

func (s *server) mayRespawn() bool {
	c := s.state.Current
	if s.agent != nil || s.dismissed || s.program == nil || c == nil || c.Alive() || c.Stop || s.state.Killing {
		return false
	}
	r := s.program.Restart
	if c.Exit != nil && c.Exit.Time.Sub(c.Started) > r.MaxBackoff {
		s.streak = 0
	}
	switch r.Policy {
	case service.RestartAlways:
	case service.RestartOnFailure:
		if c.Exit != nil && c.Exit.Success() {
			return false
		}
	default:
		return false
	}
	return s.streak < r.Budget
}

// backoff doubles with every restart in a row, up to the maximum.
func (s *server) backoff() time.Duration {
	r := s.program.Restart
	wait := r.Backoff
	for range s.streak {
		wait = min(2*wait, r.MaxBackoff)
	}
	return wait
}

// respawnNow restarts the program, unless an agent has come or it was told
// otherwise since the timer was set.
func (s *server) respawnNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mayRespawn() {
		return
	}
	s.streak++
	s.state.Restarts++
	next := *s.program
	next.Instance = s.state.Current.Number + 1
	s.program = &next
	if s.begin(true) != nil {
		s.scheduleRespawn()
	}
}
