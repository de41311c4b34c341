package certs

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also the process that a test below kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("CERTS_TEST_DIR"); dir != "" {
		renewUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}
