package rollout

import "time"

// Actual is what a rollout took.
type Actual struct {
	Bytes int64
	Took  time.Duration
	// Waves are how long each wave took, the pauses between them not counted. Of waves
	// that never began there is nothing.
	Waves []time.Duration
}

// Comparison is what was predicted beside what was.
type Comparison struct {
	Bytes Pair[int64]
	Took  Pair[time.Duration]
	Waves []Pair[time.Duration] // those that began
}

// Pair is a figure as predicted and as it was.
type Pair[T int64 | time.Duration] struct {
	Predicted, Actual T
}

// Compare sets a prediction beside what came of it.
func Compare(e Estimate, a Actual) Comparison {
	c := Comparison{
		Bytes: Pair[int64]{e.Bytes, a.Bytes},
		Took:  Pair[time.Duration]{e.Took, a.Took},
	}
	for i, took := range a.Waves[:min(len(a.Waves), len(e.Waves))] {
		c.Waves = append(c.Waves, Pair[time.Duration]{e.Waves[i].Took, took})
	}
	return c
}
