package store

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func mustLoad(t *testing.T, s *Store) []Record {
	t.Helper()
	records, bad, err := s.LoadRecords()
	if err != nil || len(bad) > 0 {
		t.Fatalf("LoadRecords: %v, quarantined %v", err, bad)
	}
	return records
}

func TestRecordsSurviveReopen(t *testing.T) {
	s := open(t, Options{})
	for _, name := range []string{"web", "web.prev", "web.record", "api"} {
		for _, v := range []string{"1", "2", "3"} {
			if err := s.SaveRecord(name, []byte(name+v)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.DeleteRecord("web.prev"); err != nil {
		t.Fatal(err)
	}
	id := s.ID()
	s = reopen(t, s)
	if s.ID() != id || len(id) != 32 {
		t.Errorf("id %q after reopening, %q before", s.ID(), id)
	}
	var got []string
	for _, r := range mustLoad(t, s) {
		got = append(got, r.Name+"="+string(r.Data))
	}
	if want := "api=api3 web=web3 web.record=web.record3"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRecordNames(t *testing.T) {
	s := open(t, Options{})
	for _, name := range []string{"", "../x", "a/b", "web\n", ".web", strings.Repeat("a", 64)} {
		if err := s.SaveRecord(name, nil); err == nil {
			t.Errorf("saved a record named %q", name)
		}
	}
	entries, _ := os.ReadDir(s.path("records"))
	if len(entries) != 0 {
		t.Errorf("refused names left %v", entries)
	}
}

// Every flipped byte and every length of a record is found out; the version
// before takes its place.
func TestCorruptRecord(t *testing.T) {
	s := open(t, Options{Reserve: -1})
	if err := s.SaveRecord("web", []byte(`{"n":1}`)); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveRecord("web", []byte(`{"n":2}`)); err != nil {
		t.Fatal(err)
	}
	path, prev := s.recordPath("web", recordExt), s.recordPath("web", prevExt)
	good, _ := os.ReadFile(path)
	before, _ := os.ReadFile(prev)
	var damaged [][]byte
	for i := range good {
		flipped := bytes.Clone(good)
		flipped[i] ^= 1 << (i % 8)
		damaged = append(damaged, flipped, good[:i])
	}
	damaged = append(damaged, append(bytes.Clone(good), 'x'), make([]byte, len(good)))
	for _, d := range damaged {
		if err := errors.Join(os.WriteFile(path, d, 0o600), os.WriteFile(prev, before, 0o600)); err != nil {
			t.Fatal(err)
		}
		s = reopen(t, s)
		records, bad, err := s.LoadRecords()
		if err != nil || len(bad) != 1 || !bad[0].Recovered || !errors.Is(bad[0].Reason, errCorrupt) {
			t.Fatalf("%q: quarantined %v, %v", d, bad, err)
		}
		if len(records) != 1 || string(records[0].Data) != `{"n":1}` || !records[0].Previous {
			t.Fatalf("%q: records %v", d, records)
		}
		if kept, _ := os.ReadFile(bad[0].Path); !bytes.Equal(kept, d) {
			t.Fatalf("quarantine holds %q, not %q", kept, d)
		}
	}
}

func TestBothVersionsCorrupt(t *testing.T) {
	s := open(t, Options{})
	for _, p := range []string{s.recordPath("web", recordExt), s.recordPath("web", prevExt)} {
		if err := os.WriteFile(p, []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	records, bad, err := s.LoadRecords()
	if err != nil || len(records) != 0 || len(bad) != 2 || bad[0].Recovered {
		t.Fatalf("records %v, quarantined %v, %v", records, bad, err)
	}
	if err := s.SaveRecord("web", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if r := mustLoad(t, s); len(r) != 1 || string(r[0].Data) != "new" {
		t.Errorf("after a new save: %v", r)
	}
}

// A crash between the two renames leaves prev alone: nothing is lost, and
// nothing is wrong.
func TestOnlyPrevious(t *testing.T) {
	s := open(t, Options{})
	if err := s.SaveRecord("web", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.recordPath("web", recordExt), s.recordPath("web", prevExt)); err != nil {
		t.Fatal(err)
	}
	if r := mustLoad(t, reopen(t, s)); len(r) != 1 || string(r[0].Data) != "1" {
		t.Errorf("got %v", r)
	}
}

// roleSave saves rising numbers under two names and acknowledges each.
func roleSave(dir string) error {
	s, err := Open(dir, Options{Reserve: -1})
	if err != nil {
		return err
	}
	start, _ := strconv.Atoi(os.Getenv("STORE_TEST_START"))
	for n := start; ; n++ {
		name := fmt.Sprintf("svc%d", n%2)
		data := append([]byte(strconv.Itoa(n)+" "), bytes.Repeat([]byte{byte(n)}, 2000)...)
		if err := s.SaveRecord(name, data); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

func child(role, arg string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], arg)
	cmd.Env = append(append(os.Environ(), "STORE_TEST_ROLE="+role), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

// 100 writers are killed at any instant: no record is corrupt and none that
// was acknowledged is lost.
func TestKilledWriter(t *testing.T) {
	dir := t.TempDir() + "/state"
	last := [2]int{-1, -1} // acknowledged, by name
	next := 0
	for range 100 {
		cmd := child("save", dir, fmt.Sprint("STORE_TEST_START=", next))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for acks := 1 + rand.IntN(8); lines.Scan(); acks-- {
			n, _ := strconv.Atoi(lines.Text())
			last[n%2], next = n, n+1
			if acks == 0 {
				// Not at the same point of the loop each time.
				time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait()
		s, err := Open(dir, Options{Reserve: -1})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range mustLoad(t, s) {
			var id, n int
			fmt.Sscanf(r.Name, "svc%d", &id)
			fmt.Sscanf(string(r.Data), "%d ", &n)
			if n < last[id] || len(r.Data) < 2000 {
				t.Fatalf("%s holds %d, acknowledged was %d", r.Name, n, last[id])
			}
			next = max(next, n+1)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d saves acknowledged", next)
}

func TestConcurrentSaves(t *testing.T) {
	s := open(t, Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 10 {
				if err := s.SaveRecord(fmt.Sprintf("svc%d", i%4), fmt.Appendf(nil, "%d", n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if r := mustLoad(t, s); len(r) != 4 {
		t.Errorf("got %d records", len(r))
	}
}

// roleHold keeps the lock until its standard input ends.
func roleHold(dir string) error {
	s, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	fmt.Println("held")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	return s.Close()
}

func TestSecondAgent(t *testing.T) {
	dir := t.TempDir() + "/state"
	cmd := child("hold", dir)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("child said %q", line)
	}
	_, err := Open(dir, Options{})
	var locked *LockedError
	if !errors.Is(err, ErrLocked) || !errors.As(err, &locked) || locked.PID != cmd.Process.Pid {
		t.Errorf("got %v, want it to name pid %d", err, cmd.Process.Pid)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	openDir(t, dir, Options{})
}

func TestFutureFormat(t *testing.T) {
	s := open(t, Options{})
	_ = s.Close()
	data, _ := json.Marshal(stamp{Format: Format + 1, ID: "x"})
	if err := os.WriteFile(s.path("stamp"), encodeRecord(kindStamp, data), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.dir, Options{}); !errors.Is(err, ErrFutureFormat) {
		t.Errorf("got %v", err)
	}
}

func TestStampSurvivesOneCorruptCopy(t *testing.T) {
	s := open(t, Options{})
	id := s.ID()
	if err := os.WriteFile(s.path("stamp"), []byte("\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s = reopen(t, s); s.ID() != id {
		t.Errorf("id %q, was %q", s.ID(), id)
	}
	_ = s.Close()
	_ = os.WriteFile(s.path("stamp.prev"), nil, 0o600)
	if _, err := Open(s.dir, Options{}); !errors.Is(err, errCorrupt) {
		t.Errorf("both copies corrupt: got %v", err)
	}
}

func TestDirectoryModes(t *testing.T) {
	s := open(t, Options{})
	for name, want := range map[string]os.FileMode{".": 0o711, "artifacts": 0o711, "records": 0o700, "logs": 0o700, "uploads": 0o700} {
		if info, err := os.Stat(s.path(name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	open := filepath.Join(t.TempDir(), "open")
	if err := errors.Join(os.Mkdir(open, 0o777), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(open, Options{}); err == nil || !strings.Contains(err.Error(), "go-w") {
		t.Errorf("world-writable directory: %v", err)
	}
	need(t, os.Geteuid() == 0, "giving a directory away needs root")
	foreign := filepath.Join(t.TempDir(), "foreign")
	if err := errors.Join(os.Mkdir(foreign, 0o700), os.Chown(foreign, 1234, -1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(foreign, Options{}); err == nil || !strings.Contains(err.Error(), "uid 1234") {
		t.Errorf("foreign directory: %v", err)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte(""))
	f.Add(encodeRecord(kindService, []byte("{}")))
	f.Add([]byte("gracefleet 1 service 00 \n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		payload, err := decodeRecord(kindService, data)
		if err == nil && !bytes.Equal(encodeRecord(kindService, payload), data) {
			t.Fatalf("accepted %q, which is not how %q is written", data, payload)
		}
	})
}

func BenchmarkSaveRecord(b *testing.B) {
	s := open(b, Options{})
	data := bytes.Repeat([]byte("x"), 1900)
	benchmarkWrite(b, func() error { return s.SaveRecord("web", data) })
}

// BenchmarkFsyncs is what the disk asks for at least.
func BenchmarkFsyncs(b *testing.B) {
	s := open(b, Options{})
	data := bytes.Repeat([]byte("x"), 1900)
	n := 0
	benchmarkWrite(b, func() error {
		n++ // a new name, so that there is something in the directory to sync
		return errors.Join(writeSynced(s.path("records", fmt.Sprint(n)), data), syncDir(s.path("records")))
	})
}

// benchmarkWrite reports the median, which a slow disk's outliers leave alone.
func benchmarkWrite(b *testing.B, write func() error) {
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		if err := write(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us/op")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us/op")
}
