package harness

import (
	"os"
	"testing"
)

// Need skips a test that this host cannot run. Where everything must run,
// GRACEFLEET_NO_SKIP=1, it fails instead.
func Need(t testing.TB, cond bool, reason string) {
	t.Helper()
	if cond {
		return
	}
	if os.Getenv("GRACEFLEET_NO_SKIP") == "1" {
		t.Fatal("must not be skipped: " + reason)
	}
	t.Skip(reason)
}
