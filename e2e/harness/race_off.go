//go:build !race

package harness

// RaceBuild says whether the tests were built with the race detector.
const RaceBuild = false
