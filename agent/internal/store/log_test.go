package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, s *Store, service string, generation int, text string) {
	t.Helper()
	f, err := s.OpenLog(service, generation, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, s *Store, o TailOptions) string {
	t.Helper()
	o.Service = "web"
	var b strings.Builder
	err := s.Tail(context.Background(), o, func(l Line) error {
		fmt.Fprintf(&b, "%d:%s ", l.Generation, l.Text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}

func TestTail(t *testing.T) {
	s := open(t, Options{})
	write(t, s, "web", 1, "a\nb\nc\n")
	write(t, s, "web", 2, "d\n\xff\xfe\nhalf")
	write(t, s, "api", 1, "other\n")
	for _, c := range []struct {
		o    TailOptions
		want string
	}{
		{TailOptions{}, "1:a 1:b 1:c 2:d 2:\xff\xfe 2:half"},
		{TailOptions{Generation: 1}, "1:a 1:b 1:c"},
		{TailOptions{Lines: 1}, "2:half"},
		{TailOptions{Lines: 2}, "2:\xff\xfe 2:half"},
		{TailOptions{Lines: 4}, "1:c 2:d 2:\xff\xfe 2:half"},
		{TailOptions{Lines: 99}, "1:a 1:b 1:c 2:d 2:\xff\xfe 2:half"},
		{TailOptions{Lines: 3, Generation: 1}, "1:a 1:b 1:c"},
		{TailOptions{Lines: -1}, ""},
	} {
		if got := read(t, s, c.o); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.o, got, c.want)
		}
	}
	if lines, err := s.LastLines("web", 1, 2); err != nil || strings.Join(lines, ",") != "b,c" {
		t.Errorf("LastLines: %q, %v", lines, err)
	}
	if lines, err := s.LastLines("web", 7, 2); err != nil || len(lines) != 0 {
		t.Errorf("LastLines without a log: %q, %v", lines, err)
	}
	if err := s.Tail(context.Background(), TailOptions{Service: "none"}, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("no log: %v", err)
	}
	if err := s.Tail(context.Background(), TailOptions{Service: "../web"}, nil); err == nil {
		t.Error("took a path for a service")
	}
	if err := s.RemoveLogs("web", 1); err != nil {
		t.Fatal(err)
	}
	if got := read(t, s, TailOptions{}); !strings.HasPrefix(got, "2:d") {
		t.Errorf("after removing generation 1: %q", got)
	}
	if err := s.RemoveLogs("web", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(s.LogPath("web", 2))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory stayed: %v", err)
	}
}

func TestLongLines(t *testing.T) {
	s := open(t, Options{})
	for _, n := range []int{MaxLine - 1, MaxLine, MaxLine + 1, 3 * MaxLine} {
		if err := s.RemoveLogs("web", 0); err != nil {
			t.Fatal(err)
		}
		write(t, s, "web", 1, strings.Repeat("x", n)+"\nnext\n")
		lines, err := s.LastLines("web", 1, 2)
		if err != nil || len(lines) != 2 || lines[1] != "next" {
			t.Fatalf("%d: %d lines, %v", n, len(lines), err)
		}
		want := strings.Repeat("x", min(n, MaxLine))
		if n > MaxLine {
			want += lineCut
		}
		if lines[0] != want {
			t.Errorf("%d: got %d bytes, want %d", n, len(lines[0]), len(want))
		}
	}
}

func TestLastLinesOfLongLog(t *testing.T) {
	s := open(t, Options{})
	var b strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	write(t, s, "web", 1, b.String())
	lines, err := s.LastLines("web", 1, 20_000)
	if err != nil || len(lines) != 20_000 || lines[0] != "line 30000" || lines[19_999] != "line 49999" {
		t.Errorf("%d lines, %v", len(lines), err)
	}
}

// following collects lines until it has seen the last one wanted.
func following(t *testing.T, s *Store, o TailOptions, last string) (lines <-chan []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	done := errors.New("done")
	result := make(chan []string, 1)
	go func() {
		defer cancel()
		var got []string
		err := s.Tail(ctx, o, func(l Line) error {
			if l.Lost > 0 {
				got = append(got, fmt.Sprintf("lost %d", l.Lost))
			}
			got = append(got, string(l.Text))
			if string(l.Text) == last {
				return done
			}
			return nil
		})
		if !errors.Is(err, done) {
			got = append(got, fmt.Sprint(err))
		}
		result <- got
	}()
	return result
}

// A follower that has seen the last old line sees all that is written later,
// of new generations too, and a line only when it has its end.
func TestFollow(t *testing.T) {
	s := open(t, Options{})
	write(t, s, "web", 1, "older\nold\n")
	end := errors.New("end")
	var got []string
	err := s.Tail(t.Context(), TailOptions{Service: "web", Lines: 1, Follow: true}, func(l Line) error {
		got = append(got, fmt.Sprintf("%d:%s", l.Generation, l.Text))
		switch string(l.Text) {
		case "old":
			for _, text := range []string{"a\nb", "b\n", "c\n"} {
				write(t, s, "web", 1, text)
			}
		case "c":
			write(t, s, "web", 2, "d\nend\n")
		case "end":
			return end
		}
		return nil
	})
	if want := "1:old 1:a 1:bb 1:c 2:d 2:end"; !errors.Is(err, end) || strings.Join(got, " ") != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestFollowEnds(t *testing.T) {
	s := open(t, Options{})
	write(t, s, "web", 1, "a\n")
	cause := errors.New("client left")
	ctx, cancel := context.WithCancelCause(context.Background())
	err := s.Tail(ctx, TailOptions{Service: "web", Follow: true}, func(Line) error {
		cancel(cause)
		return nil
	})
	if !errors.Is(err, cause) {
		t.Errorf("after the client left: %v", err)
	}
	err = s.Tail(context.Background(), TailOptions{Service: "web", Follow: true}, func(Line) error {
		return s.RemoveLogs("web", 0)
	})
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("after the logs were removed: %v", err)
	}
}

// eventually awaits state of the store's own goroutine that sends no event.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func TestSince(t *testing.T) {
	s := open(t, Options{})
	write(t, s, "web", 1, "early\n")
	f := s.logs.get(logKey{"web", 1})
	eventually(t, "the first write was not marked", func() bool {
		f.mu.RLock()
		defer f.mu.RUnlock()
		return f.index.last.offset == 6
	})
	// Times are exact to some milliseconds, so the two writes are further apart.
	time.Sleep(2 * markSlack)
	between := time.Now()
	// Agent down while the program goes on; the restart finds the rest.
	path := s.LogPath("web", 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fmt.Fprintln(file, "late")
	s = openDir(t, s.dir, Options{})
	if got := read(t, s, TailOptions{Since: between}); got != "1:late" {
		t.Errorf("since: %q", got)
	}
	if got := read(t, s, TailOptions{Since: between.Add(-time.Hour)}); got != "1:early 1:late" {
		t.Errorf("since before all: %q", got)
	}
	err = s.Tail(context.Background(), TailOptions{Service: "web"}, func(l Line) error {
		if late := string(l.Text) == "late"; late != l.Time.After(between.Add(-markSlack)) || time.Since(l.Time) > time.Minute {
			t.Errorf("%s at %v, between is %v", l.Text, l.Time, between)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
