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

	"github.com/gracefleet/gracefleet/internal/needs"
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
	for _, name := range []string{"web", "web.a", "web.b", "api"} {
		for _, v := range []string{"1", "2", "3", "4"} {
			if err := save(s, name, []byte(name+v)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.DeleteRecord("web.a"); err != nil {
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
	if want := "api=api4 web=web4 web.b=web.b4"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRecordNames(t *testing.T) {
	s := open(t, Options{})
	for _, name := range []string{"", "../x", "a/b", "web\n", ".web", strings.Repeat("a", 64)} {
		if err := s.WriteRecord(name, nil); err == nil {
			t.Errorf("saved a record named %q", name)
		}
	}
	entries, _ := os.ReadDir(s.path("records"))
	if len(entries) != 0 {
		t.Errorf("refused names left %v", entries)
	}
}

// save writes a record and syncs it.
func save(s *Store, name string, data []byte) error {
	if err := s.WriteRecord(name, data); err != nil {
		return err
	}
	return s.SyncRecord(name)
}

// Every flipped byte and every length of a record is found out; the version
// before takes its place.
func TestDamagedRecord(t *testing.T) {
	s := open(t, Options{Reserve: -1})
	for _, data := range []string{`{"n":1}`, `{"n":2}`} {
		if err := save(s, "web", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	path := s.copyPath("web", 1)
	raw, _ := os.ReadFile(path)
	good := encodeCopy(2, []byte(`{"n":2}`))
	if !bytes.HasPrefix(raw, good) || len(raw) != copyBlock {
		t.Fatalf("the second copy is %q", raw)
	}
	var damaged [][]byte
	for i := range good {
		flipped := bytes.Clone(raw)
		flipped[i] ^= 1 << (i % 8)
		damaged = append(damaged, flipped, good[:i])
	}
	damaged = append(damaged, make([]byte, len(raw)))
	for _, d := range damaged {
		if err := os.WriteFile(path, d, 0o600); err != nil {
			t.Fatal(err)
		}
		s = reopen(t, s)
		records, bad, err := s.LoadRecords()
		if err != nil || len(records) != 1 || string(records[0].Data) != `{"n":1}` {
			t.Fatalf("%q: records %v, %v", d, records, err)
		}
		if len(d) == 0 {
			continue // as if it had never been
		}
		// A header that claims to be older than what counts is of no interest.
		if claimed, _, _ := decodeCopy(d); claimed == 1 {
			t.Fatalf("%q passes for version 1", d)
		}
		if len(bad) != 1 || !bad[0].Recovered || !records[0].Previous || !errors.Is(bad[0].Reason, errCorrupt) {
			t.Fatalf("%q: quarantined %v", d, bad)
		}
		if kept, _ := os.ReadFile(bad[0].Path); !bytes.Equal(kept, d) {
			t.Fatalf("quarantine holds %q, not %q", kept, d)
		}
	}
}

func TestEveryCopyDamaged(t *testing.T) {
	s := open(t, Options{})
	for i := range copyCount {
		if err := os.WriteFile(s.copyPath("web", i), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	records, bad, err := s.LoadRecords()
	if err != nil || len(records) != 0 || len(bad) != copyCount || bad[0].Recovered {
		t.Fatalf("records %v, quarantined %v, %v", records, bad, err)
	}
	if err := save(s, "web", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if r := mustLoad(t, s); len(r) != 1 || string(r[0].Data) != "new" {
		t.Errorf("after a new save: %v", r)
	}
}

// A longer version leaves nothing behind that a shorter one would show.
func TestShorterRecord(t *testing.T) {
	s := open(t, Options{})
	for _, n := range []int{9000, 10, 5000, 0, 4000, 1} {
		data := bytes.Repeat([]byte("x"), n)
		if err := save(s, "web", data); err != nil {
			t.Fatal(err)
		}
		s = reopen(t, s)
		if r := mustLoad(t, s); len(r) != 1 || !bytes.Equal(r[0].Data, data) {
			t.Fatalf("%d bytes became %v", n, r)
		}
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
		if err := save(s, name, data); err != nil {
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
				if err := save(s, fmt.Sprintf("svc%d", i%4), fmt.Appendf(nil, "%d", n)); err != nil {
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

// A child of an agent that was killed may have its lock for another instant.
func TestLockOfAKilledAgent(t *testing.T) {
	dir := t.TempDir() + "/state"
	s := openDir(t, dir, Options{})
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.lock.WriteAt([]byte(fmt.Sprintf("%-8d", dead.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	child := exec.Command("sleep", "0.2")
	child.ExtraFiles = []*os.File{s.lock}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Wait() }()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openDir(t, dir, Options{})
}

func TestFutureFormat(t *testing.T) {
	s := open(t, Options{})
	_ = s.Close()
	data, _ := json.Marshal(stamp{Format: Format + 1, ID: "x"})
	if err := os.WriteFile(s.path("stamp"), encode(kindStamp, data), 0o600); err != nil {
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
	needs.That(t, os.Geteuid() == 0, "giving a directory away needs root")
	foreign := filepath.Join(t.TempDir(), "foreign")
	if err := errors.Join(os.Mkdir(foreign, 0o700), os.Chown(foreign, 1234, -1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(foreign, Options{}); err == nil || !strings.Contains(err.Error(), "uid 1234") {
		t.Errorf("foreign directory: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(""))
	f.Add(encode(kindStamp, []byte("{}")))
	f.Add([]byte("gracefleet 1 stamp 00 \n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		payload, err := decode(kindStamp, data)
		if err == nil && !bytes.Equal(encode(kindStamp, payload), data) {
			t.Fatalf("accepted %q, which is not how %q is written", data, payload)
		}
	})
}

func FuzzDecodeCopy(f *testing.F) {
	f.Add([]byte(""))
	f.Add(encodeCopy(1, []byte("{}")))
	f.Add(append(encodeCopy(18446744073709551615, []byte("{}")), "\n\n"...))
	f.Add([]byte("gracefleet 1 record 1 18446744073709551615 00\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		version, data, err := decodeCopy(raw)
		if err == nil && !bytes.HasPrefix(raw, encodeCopy(version, data)) {
			t.Fatalf("accepted %q, which is not how version %d of %q is written", raw, version, data)
		}
	})
}

func BenchmarkSaveRecord(b *testing.B) {
	s := open(b, Options{})
	data := bytes.Repeat([]byte("x"), 1900)
	benchmarkWrite(b, func() error { return save(s, "web", data) })
}

// BenchmarkWriteRecord is what a change of state waits for before it is acted on.
func BenchmarkWriteRecord(b *testing.B) {
	s := open(b, Options{})
	data := bytes.Repeat([]byte("x"), 1900)
	benchmarkWrite(b, func() error { return s.WriteRecord("web", data) })
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
