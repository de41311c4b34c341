package audit

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/internal/chain"
)

// made makes a record of n lines in some files and returns its directory.
func made(t testing.TB, n int) (dir string, head Head) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "audit")
	l, _ := openAt(t, dir, Options{MaxBytes: 1000})
	head = mustAppend(t, l, n)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, head
}

// A kill leaves any beginning of what was written last.
func TestTornLine(t *testing.T) {
	dir, _ := made(t, 7)
	files := segmentFiles(t, dir)
	path := files[len(files)-1]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	last := lines[len(lines)-2]
	before := whole[:len(whole)-len(last)]
	for n := range last {
		for _, zeros := range []int{0, 1, 700} { // blocks that were not written
			torn := slices.Concat(before, last[:n], make([]byte, zeros))
			if len(torn) == len(before) {
				continue
			}
			if err := os.WriteFile(path, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			l, told := openAt(t, dir, Options{})
			if len(*told) != 1 || !strings.Contains((*told)[0], "never acknowledged") || len(l.Damages()) > 0 || l.Head().Seq != 6 {
				t.Fatalf("%d bytes and %d zeros: told %q, damages %v, head %v", n, zeros, *told, l.Damages(), l.Head())
			}
			head := mustAppend(t, l, 1)
			_ = l.Close()
			mustVerify(t, dir, head)
		}
	}
}

// The first line of a new file may be torn, too.
func TestTornFirstLine(t *testing.T) {
	for _, torn := range []string{"{", "{\"seq\":1,\"time\"", "\x00\x00\n"} {
		dir := filepath.Join(t.TempDir(), "audit")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, segmentName(1)), []byte(torn), 0o600); err != nil {
			t.Fatal(err)
		}
		l, told := openAt(t, dir, Options{})
		if len(*told) != 1 || len(l.Damages()) > 0 {
			t.Errorf("%q: told %q, damages %v", torn, *told, l.Damages())
		}
		head := mustAppend(t, l, 2)
		_ = l.Close()
		mustVerify(t, dir, head)
	}
}

// Every change to the files of a record is found by who knows its head; the agent
// starts, leaves the files as they are, and says what it found in its next line.
func TestDamagedRecord(t *testing.T) {
	line := func(n int, change func([]byte) []byte) func([]byte) []byte {
		return func(data []byte) []byte {
			lines := bytes.SplitAfter(data, []byte("\n"))
			lines[n] = change(lines[n])
			return bytes.Join(lines, nil)
		}
	}
	replace := func(old, now string) func([]byte) []byte {
		return func(data []byte) []byte { return bytes.Replace(data, []byte(old), []byte(now), 1) }
	}
	none := func([]byte) []byte { return nil }
	for _, c := range []struct {
		name   string
		file   int // of three
		change func([]byte) []byte
		seq    int64 // first wrong line
	}{
		{"a text in the first file", 0, line(1, replace("alice", "mallo")), 2},
		{"a text at the end of a file", 0, line(3, replace("alice", "mallo")), 4},
		{"a text in the last file", 2, line(0, replace("alice", "mallo")), 9},
		{"a text in the line before the last", 2, line(2, replace("alice", "mallo")), 11},
		{"a hash in the last line", 2, line(3, replace(`"prev":"`, `"prev":"0`)), 12},
		{"form of the last line", 2, line(3, replace(`"actor"`, `actor`)), 12},
		{"a newline", 2, line(2, replace("\n", " ")), 11},
		{"a line removed", 1, line(1, none), 6},
		{"the first line removed", 0, line(0, none), 1},
		{"the end of a file removed", 1, line(3, none), 8},
		{"a torn line in the middle", 1, func(data []byte) []byte { return data[:len(data)-9] }, 8},
		{"all of the first file", 0, none, 1},
		{"all of a file", 1, none, 5},
		{"zeros", 1, func(data []byte) []byte { return make([]byte, len(data)) }, 5},
		{"a very long line", 1, func([]byte) []byte { return bytes.Repeat([]byte("x"), 1<<20) }, 5},
		{"an empty line", 1, func(data []byte) []byte { return append([]byte("\n"), data...) }, 5},
	} {
		dir, head := made(t, 12)
		files := segmentFiles(t, dir)
		if len(files) != 3 {
			t.Fatalf("%d files", len(files))
		}
		edit(t, files[c.file], c.change)
		found, damages, err := Verify(t.Context(), dir, head)
		if err != nil || len(damages) != 1 || damages[0].Seq != c.seq || damages[0].Sealed != 0 || found.Seq >= c.seq {
			t.Errorf("%s: head %v, damages %v, %v", c.name, found, damages, err)
			continue
		}
		checkGoesOn(t, c.name, dir, found)
	}
}

// checkGoesOn opens a damaged record with a last line in order, again and again.
func checkGoesOn(t *testing.T, name, dir string, good Head) {
	t.Helper()
	before := map[string][]byte{}
	for _, path := range segmentFiles(t, dir) {
		before[path], _ = os.ReadFile(path)
	}
	var head Head
	for i := range 3 {
		l, told := openAt(t, dir, Options{MaxBytes: 1000})
		d := l.Damages()
		if len(d) != 1 || d[0].Sealed <= good.Seq+1 || len(*told) > 0 {
			t.Fatalf("%s: opened %d times: damages %v, told %q", name, i, d, *told)
		}
		var first Entry
		_ = l.Read(t.Context(), d[0].Sealed-1, func(_ []byte, e Entry) error {
			if first.Seq == 0 {
				first = e
			}
			return nil
		})
		if first.Method != chain.MethodDamaged || first.Prev != good.Chained() || first.Detail["why"] == "" || first.Detail["line"] == "" {
			t.Errorf("%s: the agent says %+v", name, first)
		}
		head = mustAppend(t, l, 4)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	found, damages, err := Verify(t.Context(), dir, head)
	if err != nil || len(damages) != 1 || damages[0].Sealed == 0 || found != head {
		t.Errorf("%s: after the agent went on: head %v, want %v; damages %v, %v", name, found, head, damages, err)
	}
	for path, data := range before {
		if now, err := os.ReadFile(path); !bytes.Equal(now, data) {
			t.Errorf("%s: %s was changed: %v", name, path, err)
		}
	}
}

// Every flipped byte of every file, the anchor's among them.
func TestEveryFlippedByte(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l, _ := openAt(t, dir, Options{MaxBytes: 700, Keep: 2})
	head := mustAppend(t, l, 7)
	_ = l.Close()
	for _, path := range append(segmentFiles(t, dir), filepath.Join(dir, anchorName)) {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := range whole {
			flipped := bytes.Clone(whole)
			flipped[at] ^= 1 << (at % 8)
			if err := os.WriteFile(path, flipped, 0o600); err != nil {
				t.Fatal(err)
			}
			if found, damages, err := Verify(t.Context(), dir, head); err != nil || len(damages) == 0 || found == head {
				t.Fatalf("%s byte %d: head %v, damages %v, %v", path, at, found, damages, err)
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustVerify(t, dir, head)
}

// Files that somebody took away, and an anchor that is to make it look like
// retention.
func TestRemovedFiles(t *testing.T) {
	remove := func(n int) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(segmentFiles(t, dir)[n]); err != nil {
				t.Fatal(err)
			}
		}
	}
	anchor := func(h Head) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, anchorName), encodeAnchor(h), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := func(t *testing.T, dir string) {
		for range segmentFiles(t, dir) {
			remove(0)(t, dir)
		}
	}
	hash := chain.Hash(nil)
	for _, c := range []struct {
		name   string
		change []func(t *testing.T, dir string)
	}{
		{"the first", []func(*testing.T, string){remove(0)}},
		{"one in the middle", []func(*testing.T, string){remove(1)}},
		{"an anchor that nothing follows", []func(*testing.T, string){anchor(Head{Seq: 4, Hash: hash})}},
		{"an anchor for a file that is not there", []func(*testing.T, string){anchor(Head{Seq: 5, Hash: hash})}},
		{"the first, and an anchor", []func(*testing.T, string){remove(0), anchor(Head{Seq: 4, Hash: hash})}},
		{"all, and an anchor", []func(*testing.T, string){all, anchor(Head{Seq: 12, Hash: hash})}},
		{"a huge anchor", []func(*testing.T, string){anchor(Head{Seq: 1<<62 - 1, Hash: hash})}},
	} {
		dir, head := made(t, 12)
		for _, change := range c.change {
			change(t, dir)
		}
		left := len(segmentFiles(t, dir))
		found, damages, err := Verify(t.Context(), dir, head)
		if err != nil || len(damages) != 1 || found == head {
			t.Errorf("%s: head %v, damages %v, %v", c.name, found, damages, err)
			continue
		}
		if len(segmentFiles(t, dir)) != left {
			t.Errorf("%s: files were removed", c.name)
		}
		checkGoesOn(t, c.name, dir, found)
	}
}

// Who cuts off lines at the end is found by a known head alone.
func TestCutEnd(t *testing.T) {
	dir, head := made(t, 12)
	files := segmentFiles(t, dir)
	if err := os.Remove(files[2]); err != nil {
		t.Fatal(err)
	}
	if _, damages, err := Verify(t.Context(), dir, head); err != nil || len(damages) != 1 || damages[0].Kind != chain.Cut || damages[0].Seq != 9 {
		t.Errorf("%v, %v", damages, err)
	}
	if _, damages, err := Verify(t.Context(), dir, Head{}); err != nil || len(damages) != 0 {
		t.Errorf("nothing known: %v, %v", damages, err)
	}
}

// The damage goes with the files that have it.
func TestDamageIsForgottenWithItsFiles(t *testing.T) {
	dir, _ := made(t, 12)
	edit(t, segmentFiles(t, dir)[0], func(data []byte) []byte { return bytes.Replace(data, []byte("alice"), []byte("mallo"), 1) })
	for range 3 {
		l, _ := openAt(t, dir, Options{MaxBytes: 1000, Keep: 3})
		mustAppend(t, l, 3)
		if len(l.Damages()) != 1 {
			t.Errorf("damages %v", l.Damages())
		}
		_ = l.Close()
	}
	l, _ := openAt(t, dir, Options{MaxBytes: 1000, Keep: 3})
	head := mustAppend(t, l, 12)
	_ = l.Close()
	mustVerify(t, dir, head)
}
