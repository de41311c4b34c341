package store

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also is the other process of some tests.
func TestMain(m *testing.M) {
	if role := os.Getenv("STORE_TEST_ROLE"); role != "" {
		if err := roles[role](os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// roles are what this binary does as a child, given its last argument.
var roles = map[string]func(arg string) error{
	"save":     roleSave,
	"hold":     roleHold,
	"fill":     roleFill,
	"logger":   roleLogger,
	"fallback": roleFallback,
}

// open opens a new state directory for the time of the test.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	return openDir(t, t.TempDir()+"/state", o)
}

func openDir(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// reopen is what a restart of the agent does.
func reopen(t testing.TB, s *Store) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return openDir(t, s.dir, s.options)
}
