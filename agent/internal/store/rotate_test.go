package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/internal/needs"
)

// roleLogger writes numbered lines to its standard output, a log file.
func roleLogger(arg string) error {
	n, _ := strconv.Atoi(arg)
	// 5,000 lines a second, in bursts of 10.
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := range n {
		if i%10 == 0 {
			<-tick.C
		}
		if _, err := fmt.Printf("line %07d %s\n", i, strings.Repeat("x", 80)); err != nil {
			return err
		}
	}
	return nil
}

// While a program writes 5,000 lines/s, its log is rotated again and again: a
// follower sees every line, and the file ends with an unbroken row of them.
func TestRotationLosesNothing(t *testing.T) {
	const lines = 10_000
	s := open(t, Options{LogCap: 256 << 10})
	f, err := s.OpenLog("web", 1, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	last := fmt.Sprintf("line %07d %s", lines-1, strings.Repeat("x", 80))
	followed := following(t, s, TailOptions{Service: "web", Follow: true}, last)
	cmd := child("logger", strconv.Itoa(lines))
	cmd.Stdout = f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	rotated := make(chan int)
	go func() {
		n := 0
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-tick.C:
				done, err := s.RotateLogs("web")
				if err != nil || len(done) > 0 && done[0].Lossy {
					t.Errorf("%+v, %v", done, err)
				}
				n += len(done)
			case <-stop:
				tick.Stop()
				rotated <- n
				return
			}
		}
	}()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	got := <-followed
	close(stop)
	n := <-rotated
	if n < 3 {
		t.Errorf("rotated %d times only", n)
	}
	checkRow(t, got, 0, lines)
	s = reopen(t, s)
	var kept []string
	err = s.Tail(context.Background(), TailOptions{Service: "web"}, func(l Line) error {
		kept = append(kept, string(l.Text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	checkRow(t, kept, lines-len(kept), lines)
	info, _ := os.Stat(s.LogPath("web", 1))
	t.Logf("%d rotations, %d lines followed, %d kept in %d bytes", n, len(got), len(kept), info.Size())
}

func checkRow(t *testing.T, got []string, from, to int) {
	t.Helper()
	if len(got) != to-from {
		t.Errorf("%d lines, want %d", len(got), to-from)
	}
	for i, line := range got {
		if !strings.HasPrefix(line, fmt.Sprintf("line %07d ", from+i)) {
			t.Fatalf("line %d is %q", from+i, clip([]byte(line), 40))
		}
	}
}

// A log above the cap is rotated without being told, when it grows.
func TestRotatesByItself(t *testing.T) {
	rotations := make(chan Rotation, 10)
	s := open(t, Options{LogCap: 64 << 10, OnRotate: func(r Rotation) { rotations <- r }})
	write(t, s, "web", 1, strings.Repeat("old\n", 20<<10))
	write(t, s, "web", 2, strings.Repeat("new\n", 1<<10))
	r := <-rotations
	if r.Service != "web" || r.Generation != 1 || r.Cut < 16<<10 || r.Err != nil {
		t.Errorf("%+v", r)
	}
	if got := read(t, s, TailOptions{Generation: 2}); strings.Count(got, "new") != 1<<10 {
		t.Error("the newer generation was cut first")
	}
}

// The base survives a restart, also one between a cut and its record.
func TestBaseOffset(t *testing.T) {
	s := open(t, Options{LogCap: 64 << 10})
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, "%09d\n", i)
	}
	write(t, s, "web", 1, b.String())
	done, err := s.RotateLogs("web")
	if err != nil || len(done) != 1 {
		t.Fatalf("%v, %v", done, err)
	}
	f := s.logs.get(logKey{"web", 1})
	needs.That(t, f.index.hole == 0, "the file system collapses no ranges")
	base := f.index.base
	if base != done[0].Cut || base == 0 {
		t.Fatalf("base %d after a cut of %d", base, done[0].Cut)
	}
	if s = reopen(t, s); s.logs.get(f.key).index.base != base {
		t.Errorf("base %d, was %d", s.logs.get(f.key).index.base, base)
	}
	_ = s.Close()
	journal, _ := os.ReadFile(f.index.path)
	torn := bytes.Replace(journal, fmt.Appendf(nil, "base %d\n", base), nil, 1)
	if err := os.WriteFile(f.index.path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openDir(t, s.dir, s.options)
	if got := s.logs.get(f.key).index.base; got != base {
		t.Errorf("killed after the cut: base %d, want %d", got, base)
	}
	_ = s.Close()
	file, _ := os.Open(f.path)
	undone := fmt.Sprintf("base %d\ncut %d %s\n", base, base+4096, headSum(file))
	file.Close()
	if err := os.WriteFile(f.index.path, []byte(undone), 0o600); err != nil {
		t.Fatal(err)
	}
	s = openDir(t, s.dir, s.options)
	if got := s.logs.get(f.key).index.base; got != base {
		t.Errorf("killed before the cut: base %d, want %d", got, base)
	}
}

func TestMarksAreBounded(t *testing.T) {
	s := open(t, Options{})
	write(t, s, "web", 1, "x\n")
	f := s.logs.get(logKey{"web", 1})
	f.mu.Lock()
	for i := range 3 * maxMarks {
		f.index.mark(mark{time.UnixMilli(int64(i)), int64(i)})
	}
	marks := f.index.all()
	f.mu.Unlock()
	if len(marks) > maxMarks+1 || len(marks) < maxMarks/2 {
		t.Errorf("%d marks", len(marks))
	}
	for i := 1; i < len(marks); i++ {
		if marks[i].offset <= marks[i-1].offset {
			t.Fatalf("mark %d at %d after %d", i, marks[i].offset, marks[i-1].offset)
		}
	}
}

func TestTruncatedByOthers(t *testing.T) {
	s := open(t, Options{})
	write(t, s, "web", 1, strings.Repeat("old\n", 100))
	lines := following(t, s, TailOptions{Service: "web", Follow: true}, "end")
	eventually(t, "not marked", func() bool {
		f := s.logs.get(logKey{"web", 1})
		f.mu.RLock()
		defer f.mu.RUnlock()
		return f.index.last.offset == 400
	})
	if err := os.Truncate(s.LogPath("web", 1), 0); err != nil {
		t.Fatal(err)
	}
	f, err := s.OpenLog("web", 1, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The follower may come too late to see the file empty, so it is sure of
	// the last lines only.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case got := <-lines:
			if got[len(got)-1] != "end" {
				t.Errorf("got %q", got[len(got)-1])
			}
			return
		case <-tick.C:
			if _, err := io.WriteString(f, "end\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestRotationFallback(t *testing.T) { onTmpfs(t, "fallback") }

// roleFallback rotates on tmpfs, which collapses no ranges but punches holes.
func roleFallback(dir string) error {
	if err := mountSmall(dir, "size=4m"); err != nil {
		return err
	}
	s, err := Open(filepath.Join(dir, "state"), Options{LogCap: 64 << 10, Reserve: -1})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	f, err := s.OpenLog("web", 1, -1, -1)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range 100_000 {
		if _, err := fmt.Fprintf(f, "line %07d %s\n", i, strings.Repeat("x", 80)); err != nil {
			return err
		}
		if i%500 != 0 {
			continue
		}
		done, err := s.RotateLogs("web")
		if err != nil || len(done) > 0 && done[0].Lossy {
			return fmt.Errorf("%+v, %w", done, err)
		}
	}
	check := func() error {
		lines, err := s.LastLines("web", 1, 1_000_000)
		for i, line := range lines {
			if want := fmt.Sprintf("line %07d ", 100_000-len(lines)+i); !strings.HasPrefix(line, want) {
				return fmt.Errorf("got %q, want %q", line, want)
			}
		}
		if err != nil || len(lines) < 300 || len(lines) > 1500 {
			return fmt.Errorf("%d lines kept, %w", len(lines), err)
		}
		return nil
	}
	if err := check(); err != nil {
		return err
	}
	o := s.options
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = Open(s.dir, o); err != nil {
		return err
	}
	if err := check(); err != nil {
		return fmt.Errorf("after a restart: %w", err)
	}
	// The last resort loses lines, says so, and goes on.
	log := s.logs.get(logKey{"web", 1})
	file, err := os.OpenFile(log.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	log.mu.Lock()
	_, err = log.truncate(file)
	log.mu.Unlock()
	if err != nil {
		return err
	}
	fmt.Fprintln(f, "first\nsecond")
	lines, err := s.LastLines("web", 1, 5)
	if err != nil || len(lines) == 0 || lines[len(lines)-1] != "second" {
		return fmt.Errorf("after a truncation: %q, %w", lines, err)
	}
	return nil
}
