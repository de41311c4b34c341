// Package needs says what a test needs of the machine that it runs on. Tests alone
// import it.
package needs

import (
	"os"
	"testing"
)

// That skips a test where a condition does not hold, and says why: the reason names
// what is missing. With GRACEFLEET_NO_SKIP=1, as in CI, it fails instead.
func That(t testing.TB, holds bool, reason string) {
	t.Helper()
	switch {
	case holds:
	case os.Getenv("GRACEFLEET_NO_SKIP") != "":
		t.Fatalf("must not be skipped here: %s", reason)
	default:
		t.Skip(reason)
	}
}
