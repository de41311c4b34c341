package wholefile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestBatch(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := os.WriteFile(a, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	var batch Batch
	if err := batch.Add(a, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := read(t, a); got != "old" {
		t.Errorf("before the commit there is %q", got)
	}
	if err := batch.Add(filepath.Join(dir, "missing", "b"), nil, 0o600); err == nil {
		t.Error("a file in no directory was written")
	}
	batch.Discard()
	if got, left := read(t, a), names(t, dir); got != "old" || len(left) != 1 {
		t.Errorf("discarded, there is %q and %v", got, left)
	}
	for _, path := range []string{a, b} {
		if err := batch.Add(path, []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Commit(); err != nil {
		t.Fatal(err)
	}
	batch.Discard()
	for _, path := range []string{a, b} {
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 || read(t, path) != "new" {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{TempPrefix + "1", ".tmp-of-others", "mine"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	if left := names(t, dir); len(left) != 2 {
		t.Errorf("left are %v", left)
	}
	if err := Sweep(filepath.Join(dir, "missing")); err == nil {
		t.Error("a directory that is not there was swept")
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
