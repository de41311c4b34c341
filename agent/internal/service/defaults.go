package service

import (
	"slices"
	"syscall"
	"time"

	"github.com/gracefleet/gracefleet/internal/handover"
)

// WithDefaults fills in what cannot mean anything when it is zero. Where zero
// has a meaning (hold, soak, rollback_window, restart.hold, keep_generations)
// it stays: whoever reads a specification knows whether the key was there.
func (s Spec) WithDefaults() Spec {
	s = s.withPreset()
	if len(s.Command) == 0 {
		s.Command = []string{artifactPlaceholder}
	}
	s.Handover.Dialect = or(s.Handover.Dialect, handover.ListenFDs)
	s.Sockets = slices.Clone(s.Sockets)
	for i := range s.Sockets {
		if s.Sockets[i].Stream() {
			s.Sockets[i].Backlog = or(s.Sockets[i].Backlog, DefaultBacklog)
		}
	}
	s.Readiness.Timeout = or(s.Readiness.Timeout, DefaultReadyTimeout)
	s.Readiness.Probe = s.defaultReadiness().withDefaults()
	s.Upgrade = s.Upgrade.withDefaults()
	if d, ok := handover.FindDialect(s.Handover.Dialect); ok {
		s.Drain.Signal = or(s.Drain.Signal, int(d.Drain))
	}
	s.Drain = s.Drain.withDefaults(s.countable())
	s.Restart.Policy = or(s.Restart.Policy, RestartAlways)
	s.Restart.Backoff = or(s.Restart.Backoff, DefaultBackoff)
	s.Restart.MaxBackoff = or(s.Restart.MaxBackoff, max(DefaultMaxBackoff, s.Restart.Backoff))
	return s
}

// withPreset fills in what the preset knows and the service file does not say.
func (s Spec) withPreset() Spec {
	p, ok := handover.FindPreset(s.Preset)
	if !ok {
		return s
	}
	if len(s.Command) == 0 {
		s.Command = slices.Clone(p.Command)
	}
	s.Handover.Dialect = or(s.Handover.Dialect, p.Dialect)
	if len(s.Readiness.kinds()) == 0 {
		s.Readiness.Notify = p.Ready == handover.ReadyNotify
		s.Readiness.ParentSignal = p.Ready == handover.ReadySignal
	}
	if s.Drain.Mode == "" {
		s.Drain.Mode = DrainSignal
		if p.Patient && s.countable() {
			s.Drain.Mode = DrainPatient
		}
	}
	s.Drain.Signal = or(s.Drain.Signal, int(p.Drain))
	return s
}

// or is value unless that is zero.
func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// Stream says whether connections arrive on the socket.
func (s Socket) Stream() bool { return s.Address.Network != UDP }

// countable says whether the open connections of a generation can be known:
// sockets that carry datagrams only have none.
func (s Spec) countable() bool {
	return len(s.Sockets) == 0 || slices.ContainsFunc(s.Sockets, Socket.Stream)
}

// defaultReadiness is the declared proof, or else that the program accepted a
// connection of its first stream socket, or else that it lives for a second.
func (s Spec) defaultReadiness() Probe {
	if len(s.Readiness.kinds()) > 0 {
		return s.Readiness.Probe
	}
	if i := slices.IndexFunc(s.Sockets, Socket.Stream); i >= 0 {
		return Probe{TCP: &TCPProbe{Socket: s.Sockets[i].Name}}
	}
	return Probe{AliveFor: time.Second}
}

func (p Probe) withDefaults() Probe {
	if p.HTTP != nil {
		h := *p.HTTP
		h.Scheme, h.Path = or(h.Scheme, "http"), or(h.Path, "/")
		p.HTTP = &h
	}
	return p
}

func (u Upgrade) withDefaults() Upgrade {
	u.StepTimeout = or(u.StepTimeout, DefaultStepTimeout)
	if u.NoOverlap {
		u.OverlapLimit = or(u.OverlapLimit, DefaultOverlapLimit)
	}
	if u.Check != nil {
		c := *u.Check
		c.Interval, c.Failures = or(c.Interval, DefaultCheckInterval), or(c.Failures, DefaultCheckFailures)
		c.Probe = c.Probe.withDefaults()
		u.Check = &c
	}
	return u
}

// withDefaults is patient, except where nobody could tell when to stop waiting.
func (d Drain) withDefaults(countable bool) Drain {
	if d.Mode == "" && !countable && d.Patience == 0 {
		d.Mode = DrainSignal
	}
	d.Mode = or(d.Mode, DrainPatient)
	d.Signal = or(d.Signal, int(syscall.SIGTERM))
	d.Timeout = or(d.Timeout, DefaultDrainTimeout)
	d.MaxGenerations = or(d.MaxGenerations, DefaultMaxGenerations)
	return d
}
