package rollout

import (
	"slices"
	"time"
)

// HostFacts is what is known of a target before a rollout.
type HostFacts struct {
	// Unchanged hosts run the release already.
	Unchanged bool
	// Has says that the host has the artifact.
	Has bool
	// Connections are open now; -1 where they cannot be counted.
	Connections int
	// DrainLimit is when a drain cuts what is left; 0 when it never does.
	DrainLimit time.Duration
	// Drains are how long the host's own past drains took.
	Drains []time.Duration
}

// Facts is what an estimate follows from.
type Facts struct {
	Hosts map[string]HostFacts // by name; of others nothing is known
	Sizes []int64              // of the spec's releases, in bytes
	// Upgrade is how long one host's upgrade takes by its specification: steps, holds
	// and soak.
	Upgrade time.Duration
}

// Estimate is what a rollout will take, as --dry-run says it.
type Estimate struct {
	// Bytes are sent at most: a difference to what a host has is smaller.
	Bytes int64
	// AtRisk are connections that may be cut: their drain has a limit that the host's
	// drains reached before, or no drain of the host is known.
	AtRisk int
	// Uncounted hosts cannot tell how many connections they have.
	Uncounted int
	// Took is the whole, an operator's promotes not counted; how fast artifacts travel
	// nobody knows before. Drained is the same, with the old generations' drains.
	Took, Drained time.Duration
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
// hosts that take as long as their specification says, and drain as they usually do.
func Foresee(spec Spec, facts Facts) Estimate {
	e := Estimate{Waves: make([]WaveEstimate, len(spec.Plan.Waves))}
	p := newPlay(spec, facts)
	e.Took = p.run(e.Waves)
	e.Drained = e.Took
	others := facts.typical()
	for i, t := range spec.Plan.Targets {
		wave := &e.Waves[spec.Plan.Wave(i)]
		wave.Hosts++
		h, known := facts.Hosts[t.Name]
		if h.Unchanged {
			continue
		}
		if !h.Has {
			e.Bytes += facts.size(t.Release)
		}
		switch {
		case !known || h.Connections < 0:
			e.Uncounted++
		case h.cuts():
			e.AtRisk += h.Connections
			wave.AtRisk += h.Connections
		}
		drain, own := median(h.Drains)
		if !own {
			e.Guessed++
			drain = others
		}
		e.Drained = max(e.Drained, p.upgraded(i)+h.atMost(drain))
	}
	return e
}

func (f Facts) size(release int) int64 {
	if release >= len(f.Sizes) {
		return 0
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
