package ca

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain is also the process that the tests below start: it issues and revokes
// in a directory, as many times as it is told.
func TestMain(m *testing.M) {
	dir := os.Getenv("CA_TEST_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	fmt.Println("begun")
	for i := range 1000 {
		if err := work(dir, os.Getenv("CA_TEST_OUT"), fmt.Sprintf("n%d", i)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if fmt.Sprint(i+1) == os.Getenv("CA_TEST_TIMES") {
			os.Exit(0)
		}
	}
}

// work issues a certificate and revokes it, as two commands do.
func work(dir, out, name string) error {
	files := OutputIn(out, name)
	files.Overwrite = true
	s, err := Lock(context.Background(), dir)
	if err != nil {
		return err
	}
	_, err = s.Issue(Request{Role: "operator", Name: name, Lifetime: day}, files)
	s.Close()
	if err != nil {
		return err
	}
	cert, err := ReadCertificate(files.Certificate)
	if err != nil {
		return err
	}
	if s, err = Lock(context.Background(), dir); err != nil {
		return err
	}
	defer s.Close()
	_, err = s.RevokeCertificate(cert, "superseded")
	return err
}

func worker(t *testing.T, dir string, times int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CA_TEST_DIR="+dir, "CA_TEST_OUT="+t.TempDir(), fmt.Sprintf("CA_TEST_TIMES=%d", times))
	return cmd
}

// Nothing that one process issues or revokes is lost to another.
func TestProcessesAtOnce(t *testing.T) {
	s := setUp(t, time.Now())
	s.Close()
	const processes, times = 3, 4
	var wg sync.WaitGroup
	for range processes {
		cmd := worker(t, s.Dir(), times)
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	a, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	l, err := a.CRL()
	if err != nil || len(a.Entries()) != processes*times || l.Revoked != processes*times {
		t.Errorf("%d issued, %+v, %v", len(a.Entries()), l, err)
	}
}

func TestTwoCreateOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() {
			_, err := Create(context.Background(), dir, "example.org")
			errs <- err
		}()
	}
	done := 0
	for range cap(errs) {
		err := <-errs
		if err == nil {
			done++
		} else if !strings.Contains(err.Error(), "has a CA already") {
			t.Errorf("%v", err)
		}
	}
	if done != 1 {
		t.Errorf("%d made a CA", done)
	}
	reopen(t, dir, time.Now())
}

func TestLockIsWaitedFor(t *testing.T) {
	s := setUp(t, time.Now())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, s.Dir()); err == nil || !strings.Contains(err.Error(), "another gracectl cert") {
		t.Errorf("%v", err)
	}
	s.Close()
	reopen(t, s.Dir(), time.Now())
}

// However a process ends, the CA is whole and goes on, and every certificate that
// got out is in the journal.
func TestCrashesLeaveAUsableCA(t *testing.T) {
	s := setUp(t, time.Now())
	s.Close()
	var number int64
	for i := range 40 {
		cmd := worker(t, s.Dir(), 1000)
		out, err := cmd.StdoutPipe()
		if err != nil || cmd.Start() != nil {
			t.Fatal("cannot start", err)
		}
		bufio.NewReader(out).ReadString('\n')
		time.Sleep(time.Duration(i) * 1500 * time.Microsecond)
		cmd.Process.Kill()
		cmd.Wait()
		a, err := Open(s.Dir())
		if err != nil {
			t.Fatal(err)
		}
		l, err := a.CRL()
		if err != nil || l.Number.Int64() < number {
			t.Fatalf("%+v, %v", l, err)
		}
		number = l.Number.Int64()
		for _, dir := range cmd.Env {
			if out, ok := strings.CutPrefix(dir, "CA_TEST_OUT="); ok {
				journalKnows(t, a, out)
			}
		}
	}
	again := reopen(t, s.Dir(), time.Now())
	issue(t, again, alice)
	l, err := again.RefreshCRL()
	revoked := 0
	for _, e := range again.Entries() {
		if !e.RevokedAt.IsZero() {
			revoked++
		}
	}
	if err != nil || l.Revoked != revoked || l.Number.Int64() <= number {
		t.Errorf("%+v of %d revoked, %v", l, revoked, err)
	}
	t.Logf("%d issued, %d revoked", len(again.Entries()), revoked)
}

func journalKnows(t *testing.T, a *Authority, out string) {
	t.Helper()
	paths, _ := filepath.Glob(filepath.Join(out, "n*.pem"))
	for _, path := range paths {
		if _, err := find(a.Entries(), FormatSerial(readCert(t, path).SerialNumber)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
