package rollout

import (
	"errors"
	"fmt"
	"time"
)

// OnFailure says what follows when too many hosts failed.
type OnFailure string

// What may follow. Hosts whose upgrade failed have gone back by themselves.
const (
	// RollBack returns every touched host to its own predecessor.
	RollBack OnFailure = "rollback"
	// HoldOn leaves things as they are: nothing more begins until an operator decides.
	HoldOn OnFailure = "hold"
)

// ParseOnFailure reads rollback or hold.
func ParseOnFailure(text string) (OnFailure, error) {
	switch f := OnFailure(text); f {
	case RollBack, HoldOn:
		return f, nil
	}
	return "", fmt.Errorf("on failure %s: want rollback or hold", quote(text))
}

// OnOrphan says what an agent does with an upgrade that is soaking when the driver
// of the rollout is gone: its lease ran out and nobody took over.
type OnOrphan string

// What an agent may do alone.
const (
	// OrphanHold lets the soak end by its own timer, and begins nothing.
	OrphanHold OnOrphan = "hold"
	// OrphanRollBack aborts what soaks: unconfirmed is undone.
	OrphanRollBack OnOrphan = "rollback"
	// OrphanFinish promotes what soaks at once.
	OrphanFinish OnOrphan = "finish"
)

// ParseOnOrphan reads hold, rollback or finish.
func ParseOnOrphan(text string) (OnOrphan, error) {
	switch o := OnOrphan(text); o {
	case OrphanHold, OrphanRollBack, OrphanFinish:
		return o, nil
	}
	return "", fmt.Errorf("on orphan %s: want hold, rollback or finish", quote(text))
}

// Policy is what bounds a rollout, and what follows when a bound is passed.
type Policy struct {
	// MaxInFlight bounds how many hosts are upgraded, or go back, at once; 0 leaves
	// that to the wave.
	MaxInFlight int `json:"max_in_flight,omitempty"`
	// MaxFailures is how many of all targets may fail; one more stops the rollout.
	MaxFailures Amount `json:"max_failures"`
	// MaxWaveFailures is how many of one wave's may.
	MaxWaveFailures Amount `json:"max_wave_failures"`
	// MaxUnreachable is how many of all targets may be out of reach. These are no
	// failures: passing it never makes a host go back.
	MaxUnreachable Amount `json:"max_unreachable"`
	// Pause is the time between two waves.
	Pause time.Duration `json:"pause_ns,omitempty"`
	// Manual has each wave after the first wait for an operator's promote.
	Manual    bool      `json:"manual,omitempty"`
	OnFailure OnFailure `json:"on_failure"`
	OnOrphan  OnOrphan  `json:"on_orphan"`
	// FetchTimeout is how long a host may take to get the artifact. One that does
	// not get it is never touched.
	FetchTimeout time.Duration `json:"fetch_timeout_ns"`
	// Checks are what the driver asks about each host while it soaks. All of them must
	// have passed before it is promoted.
	Checks []Check `json:"checks,omitempty"`
}

// DefaultPolicy is what holds where an operator says nothing: no failure is
// tolerated, a tenth may be unreachable, everything touched goes back.
func DefaultPolicy() Policy {
	return Policy{
		MaxWaveFailures: Amount{N: all, Share: true},
		MaxUnreachable:  Amount{N: all / 10, Share: true},
		OnFailure:       RollBack,
		OnOrphan:        OrphanHold,
		FetchTimeout:    15 * time.Minute,
	}
}

// maxWait bounds every duration of a policy: a mistyped unit, not a plan.
const maxWait = 7 * 24 * time.Hour

// ParsePause reads how long to wait between two waves, such as 30s, or manual:
// until an operator promotes.
func ParsePause(text string) (pause time.Duration, manual bool, err error) {
	if text == "manual" {
		return 0, true, nil
	}
	pause, err = time.ParseDuration(text)
	if err != nil || pause < 0 || pause > maxWait {
		return 0, false, fmt.Errorf("pause %s: want a duration of at most %v, such as 30s or 10m, or manual", quote(text), maxWait)
	}
	return pause, false, nil
}

// ParseMaxInFlight reads how many hosts may be upgraded at once.
func ParseMaxInFlight(text string) (int, error) {
	a, err := ParseAmount(text)
	if err != nil || a.Share || a.N == 0 {
		return 0, fmt.Errorf("max in flight %s: want a number of hosts from 1 to %d", quote(text), maxHosts)
	}
	return a.N, nil
}

func (p Policy) validate() error {
	if p.MaxInFlight < 0 || p.MaxInFlight > maxHosts {
		return fmt.Errorf("at most %d hosts in flight: want 0 to %d", p.MaxInFlight, maxHosts)
	}
	for _, a := range []Amount{p.MaxFailures, p.MaxWaveFailures, p.MaxUnreachable} {
		if parsed, err := ParseAmount(a.String()); err != nil || parsed != a {
			return fmt.Errorf("budget %s: want 0 to %d hosts, or 0%% to 100%%", a, maxHosts)
		}
	}
	if _, err := ParseOnFailure(string(p.OnFailure)); err != nil {
		return err
	}
	if _, err := ParseOnOrphan(string(p.OnOrphan)); err != nil {
		return err
	}
	switch {
	case p.Pause < 0 || p.Pause > maxWait:
		return fmt.Errorf("a pause of %v: want at most %v", p.Pause, maxWait)
	case p.Manual && p.Pause != 0:
		return errors.New("a pause that ends both by itself and by an operator's word: want one of them")
	case p.FetchTimeout <= 0 || p.FetchTimeout > maxWait:
		return fmt.Errorf("%v for hosts to get the artifact: want more than 0 and at most %v", p.FetchTimeout, maxWait)
	case len(p.Checks) > maxChecks:
		return fmt.Errorf("%d checks: want at most %d", len(p.Checks), maxChecks)
	}
	for _, c := range p.Checks {
		if err := c.validate(); err != nil {
			return err
		}
	}
	return nil
}
