package rollout

import (
	"slices"
	"time"
)

// HostFacts is what is known of a target before a rollout.
type HostFacts struct {
	// Unchanged hosts run the release already.
	Unchanged bool
	// Has says that the host has the artifact, Base that it has the one from which a
	// difference can be sent.
	Has, Base bool
	// Connections are open now; -1 where they cannot be counted.
	Connections int
	// DrainLimit is when a drain cuts what is left; 0 when it never does.
	DrainLimit time.Duration
	// Drains are how long the host's own past drains took.
	Drains []time.Duration
}

// Sizes is how many bytes a release's artifact has, and how many the difference to
// the one before; 0 when there is none.
type Sizes struct {
	Full, Delta int64
}

// Facts is what an estimate follows from.
type Facts struct {
	Hosts map[string]HostFacts // by name; of others nothing is known
	Sizes []Sizes              // of the spec's releases
	// Upgrade is how long one host's upgrade takes by its specification: steps, holds
	// and soak.
	Upgrade time.Duration
	// Drained says that a host is done only when its old generation has drained.
	Drained bool
	// Rate is how many bytes a second can be sent in all; 0 when that is not known,
	// and takes no time.
	Rate int64
}

// Estimate is what a rollout will take, as --dry-run says it.
type Estimate struct {
	Hosts     int
	Unchanged int
	Bytes     int64
	// AtRisk are connections that may be cut: their drain has a limit that the host's
	// drains reached before, or no drain of the host is known.
	AtRisk int
	// Uncounted hosts cannot tell how many connections they have.
	Uncounted int
	// Took is the whole, an operator's promotes not counted, with Fetch, how long
	// artifacts take to arrive.
	Took, Fetch time.Duration
	// Guessed hosts have no drains of their own: the others' stand for theirs.
	Guessed int
	Waves   []WaveEstimate
}

// WaveEstimate is one wave of it.
type WaveEstimate struct {
	Hosts  int
	AtRisk int
	// Took is from the wave's begin to its end, the pause after it not counted.
	Took time.Duration
}

// Foresee estimates a rollout in which nothing fails: the machine plays it, with
// hosts that take as long as they usually do.
func Foresee(spec Spec, facts Facts) Estimate {
	e := Estimate{Hosts: len(spec.Plan.Targets), Waves: make([]WaveEstimate, len(spec.Plan.Waves))}
	others := facts.typical()
	took := make([]time.Duration, len(spec.Plan.Targets))
	for i, t := range spec.Plan.Targets {
		wave := &e.Waves[spec.Plan.wave(i)]
		wave.Hosts++
		h, known := facts.Hosts[t.Name]
		if h.Unchanged {
			e.Unchanged++
			continue
		}
		e.Bytes += h.bytes(facts.sizes(t.Release))
		switch {
		case !known || h.Connections < 0:
			e.Uncounted++
		case h.cuts():
			e.AtRisk += h.Connections
			wave.AtRisk += h.Connections
		}
		took[i] = facts.Upgrade
		if !facts.Drained {
			continue
		}
		drain, own := median(h.Drains)
		if !own {
			e.Guessed++
			drain = others
		}
		took[i] += h.atMost(drain)
	}
	if facts.Rate > 0 {
		e.Fetch = time.Duration(float64(e.Bytes) / float64(facts.Rate) * float64(time.Second))
	}
	e.Took = e.Fetch + newPlay(spec, facts, took).run(e.Waves)
	return e
}

func (f Facts) sizes(release int) Sizes {
	if release >= len(f.Sizes) {
		return Sizes{}
	}
	return f.Sizes[release]
}

// typical is the median of all drains that are known.
func (f Facts) typical() time.Duration {
	var drains []time.Duration
	for _, h := range f.Hosts {
		drains = append(drains, h.Drains...)
	}
	d, _ := median(drains)
	return d
}

func (h HostFacts) bytes(s Sizes) int64 {
	switch {
	case h.Has:
		return 0
	case h.Base && s.Delta > 0:
		return min(s.Delta, s.Full)
	}
	return s.Full
}

func (h HostFacts) cuts() bool {
	if h.DrainLimit == 0 {
		return false
	}
	return len(h.Drains) == 0 || slices.Max(h.Drains) >= h.DrainLimit
}

func (h HostFacts) atMost(drain time.Duration) time.Duration {
	if h.DrainLimit == 0 {
		return drain
	}
	return min(drain, h.DrainLimit)
}

// median is the upper one of an even number; false when there is none.
func median(d []time.Duration) (time.Duration, bool) {
	if len(d) == 0 {
		return 0, false
	}
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2], true
}
