//go:build linux

package harness

import (
	"fmt"
	"os"
	"testing"
)

// Main runs the tests of a package, and ends the process. What was built for
// them is removed; it must be called from TestMain before anything is built.
func Main(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("/tmp", "gfbin")
	if err == nil {
		// Programs run as other users, too.
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "a directory for binaries: %v\n", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries = dir
	return m.Run()
}
