package audit

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/gracefleet/gracefleet/internal/chain"
)

// TestMain also is the other process of some tests.
func TestMain(m *testing.M) {
	if role := os.Getenv("AUDIT_TEST_ROLE"); role != "" {
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
	"append":  roleAppend,
	"fill":    roleFill,
	"reserve": roleReserve,
}

func child(role, arg string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], arg)
	cmd.Env = append(os.Environ(), "AUDIT_TEST_ROLE="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

// openAt opens a record until the end of the test and returns what is told.
func openAt(t testing.TB, dir string, o Options) (l *Log, told *[]string) {
	t.Helper()
	told = new([]string)
	o.OnRepair = func(text string) { *told = append(*told, text) }
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, told
}

func stop(actor string) Entry {
	return Entry{
		Actor: actor, Role: "stop", From: "unix pid 812", Method: "/gracefleet.v1.Services/Stop", Service: "web",
		Decision: chain.Allowed, Reason: "maintenance", RequestID: "9a",
	}
}

func mustAppend(t testing.TB, l *Log, n int) (last Head) {
	t.Helper()
	for range n {
		var err error
		if last, err = l.Append(stop("alice")); err != nil {
			t.Fatal(err)
		}
	}
	return last
}

// mustVerify verifies what is on the disk, with a head that must be in it.
func mustVerify(t testing.TB, dir string, known Head) {
	t.Helper()
	head, damages, err := Verify(context.Background(), dir, known)
	if err != nil || len(damages) > 0 || head.Seq < known.Seq {
		t.Fatalf("head %v, known %v, damages %v, %v", head, known, damages, err)
	}
}

func numbers(t testing.TB, l *Log, after int64) (found []int64) {
	t.Helper()
	err := l.Read(context.Background(), after, func(_ []byte, e Entry) error {
		found = append(found, e.Seq)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func upTo(first, last int64) (all []int64) {
	for n := first; n <= last; n++ {
		all = append(all, n)
	}
	return all
}

// segmentFiles are the names of a record's files, the oldest first.
func segmentFiles(t testing.TB, dir string) (names []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	return paths
}

func edit(t testing.TB, path string, change func(data []byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(bytes.Clone(data)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
