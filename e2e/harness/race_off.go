//go:build !race

package harness

// raceBuild says whether the tests were built with the race detector.
const raceBuild = false
