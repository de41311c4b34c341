package simulated

import "time"

// Conduct is how the programs of a machine behave.
type Conduct struct {
	// Ready is how long a program takes to be ready.
	Ready time.Duration
	// Drain is how long the connections of a generation last that gets no new ones.
	Drain time.Duration
	// Fate is what becomes of a program. It is called from any goroutine.
	Fate func(artifact string) Fate
}

// Fate is what becomes of a program that was started.
type Fate uint8

// The fates of a program.
const (
	Serves Fate = iota // it becomes ready, and runs until it is told to end
	Fails              // it exits with status 1 instead of becoming ready
	Hangs              // it never becomes ready
)
