package harness

import (
	"testing"

	"github.com/gracefleet/gracefleet/internal/needs"
)

// Need is needs.That.
func Need(t testing.TB, cond bool, reason string) {
	t.Helper()
	needs.That(t, cond, reason)
}
