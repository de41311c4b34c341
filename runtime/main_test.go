package gracefleet

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// roleEnv makes the test binary act as a supervised program (role_test.go).
const roleEnv = "GRACEFLEET_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		playRole(role)
		return
	}
	goleak.VerifyTestMain(m)
}

// start begins a standalone service that the test drains.
func start(t *testing.T, opts Options) *Service {
	t.Helper()
	opts.Logf = t.Logf
	svc, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		svc.end(ErrInterrupted)
		svc.Wait()
	})
	return svc
}

// within fails the test when c does not deliver in time.
func within[T any](t *testing.T, d time.Duration, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(d):
		t.Fatalf("%s: nothing within %v", what, d)
		panic("unreachable")
	}
}
