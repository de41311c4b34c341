package service

import (
	"fmt"
	"time"
)

func (c *checker) upgrade(s Spec) {
	u := s.Upgrade
	c.failed("upgrade.steps", CheckSteps(u.Steps))
	c.duration("upgrade.hold", u.Hold, 0, 30*day)
	c.number("upgrade.min_connections", u.MinConnections, 0, 1_000_000_000)
	c.duration("upgrade.step_timeout", u.StepTimeout, time.Millisecond, 30*day)
	c.that(u.MinConnections == 0 || u.StepTimeout > u.Hold, "upgrade.step_timeout",
		"%s is not more than the hold, %s: no step could wait for its connections", formatDuration(u.StepTimeout), formatDuration(u.Hold))
	c.duration("upgrade.soak", u.Soak, 0, 30*day)
	c.duration("upgrade.rollback_window", u.RollbackWindow, 0, 30*day)
	c.check(u.Check, s.Sockets)
	c.overlap(s)
}

// overlap: without it there is no moment at which both generations could serve.
func (c *checker) overlap(s Spec) {
	u := s.Upgrade
	if !u.NoOverlap {
		c.that(u.OverlapLimit == 0, "upgrade.overlap_limit", "is of no use without overlap: none")
		return
	}
	c.duration("upgrade.overlap_limit", u.OverlapLimit, 100*time.Millisecond, 10*time.Minute)
	c.that(len(u.Steps) == 0, "upgrade.steps", "cannot be with overlap: none, where the old generation ends first")
	c.that(u.Soak == 0, "upgrade.soak", "cannot be with overlap: none, where the old generation ends first")
	c.that(u.Check == nil, "upgrade.check", "judges nobody with overlap: none, which has neither steps nor soak")
	for i, sock := range s.Sockets {
		c.that(sock.Stream(), "upgrade.overlap", "none cannot be with sockets[%d], which is udp: datagrams do not wait", i)
	}
}

// CheckSteps says whether canary steps rise from 0.01 % to 99.99 %.
func CheckSteps(steps []Step) error {
	if len(steps) > MaxSteps {
		return fmt.Errorf("%d steps: at most %d", len(steps), MaxSteps)
	}
	last := 0
	for _, s := range steps {
		if s.Weight < 1 || s.Weight > 9999 {
			return fmt.Errorf("%s is not from 0.01%% to 99.99%%", formatPercent(s.Weight))
		}
		if s.Weight <= last {
			return fmt.Errorf("%s does not rise above %s", formatPercent(s.Weight), formatPercent(last))
		}
		last = s.Weight
	}
	return nil
}

func (c *checker) drain(s Spec) {
	d := s.Drain
	switch d.Mode {
	case DrainPatient, DrainSignal:
	default:
		c.add("drain.mode", "%.80q is not known: want patient or signal", d.Mode)
	}
	c.duration("drain.patience", d.Patience, 0, 365*day)
	if d.Nudge != 0 {
		c.duration("drain.nudge", d.Nudge, 100*time.Millisecond, day)
		c.that(d.Mode == DrainPatient, "drain.nudge", "is of no use with mode: signal")
	}
	c.that(d.Patience <= 0 || d.Mode != DrainSignal, "drain.patience", "is of no use with mode: signal")
	c.that(d.Mode != DrainPatient || d.Patience != 0 || s.countable(), "drain.patience",
		"datagram sockets have no connections to wait for: set a limit, or mode: signal")
	c.that(SignalName(d.Signal) != "", "drain.signal", "%d is not a signal that ends a program gracefully", d.Signal)
	c.duration("drain.timeout", d.Timeout, time.Millisecond, 30*day)
	c.number("drain.max_generations", d.MaxGenerations, 2, 64)
}
