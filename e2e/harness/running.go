//go:build linux

package harness

import (
	"bufio"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Running is a command under way, and what it has said so far.
type Running struct {
	t      testing.TB
	cmd    *exec.Cmd
	stderr log

	mu    sync.Mutex
	lines []string      // of its standard output
	ended bool          // nothing more follows
	news  chan struct{} // closed when either changes
}

// startRunning ends the command with the test, however it is then.
func startRunning(t testing.TB, cmd *exec.Cmd) *Running {
	t.Helper()
	r := &Running{t: t, cmd: cmd, news: make(chan struct{})}
	out, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, &r.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // its exit code tells
		w.Close()
	}()
	go r.read(out)
	t.Cleanup(func() {
		r.Kill9()
		r.End()
	})
	return r
}

func (r *Running) read(out io.Reader) {
	in := bufio.NewScanner(out)
	in.Buffer(nil, 8<<20) // a result lists every host
	for in.Scan() {
		r.tell(func() { r.lines = append(r.lines, in.Text()) })
	}
	r.tell(func() { r.ended = true })
}

func (r *Running) tell(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	close(r.news)
	r.news = make(chan struct{})
}

// said are the lines of its standard output so far.
func (r *Running) said() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lines[:len(r.lines):len(r.lines)]
}

// sayLimit is how long it may be before a line that is awaited.
const sayLimit = 45 * time.Second

// Line waits for the n-th line, counted from 0; false when it ended before.
func (r *Running) Line(n int) (string, bool) {
	r.t.Helper()
	r.await(sayLimit, func() bool { return len(r.lines) > n || r.ended })
	if lines := r.said(); len(lines) > n {
		return lines[n], true
	}
	return "", false
}

// Until waits for a line that has all of these texts, and fails the test when it ends
// without.
func (r *Running) Until(texts ...string) string {
	r.t.Helper()
	for n := 0; ; n++ {
		line, ok := r.Line(n)
		if !ok {
			r.t.Fatalf("it never said %q: %v", texts, r.End())
		}
		if hasAll(line, texts) {
			return line
		}
	}
}

func hasAll(line string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(line, text) {
			return false
		}
	}
	return true
}

func (r *Running) await(length time.Duration, cond func() bool) {
	r.t.Helper()
	limit := time.NewTimer(length)
	defer limit.Stop()
	for {
		r.mu.Lock()
		done, news := cond(), r.news
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-news:
		case <-limit.C:
			r.Kill9()
			r.t.Fatalf("%v says nothing more for %v:\n%s\n%s", r.cmd.Args, length, strings.Join(r.said(), "\n"), r.stderr.String())
		}
	}
}

// Kill9 kills it at once, if it still runs.
func (r *Running) Kill9() { _ = r.cmd.Process.Kill() }

// Freeze stops it as it is, until Thaw.
func (r *Running) Freeze() { r.signal(syscall.SIGSTOP) }

// Thaw has it go on.
func (r *Running) Thaw() { r.signal(syscall.SIGCONT) }

func (r *Running) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatalf("%v to %v: %v", s, r.cmd.Args, err)
	}
}

// End waits until it has ended.
func (r *Running) End() Result {
	r.t.Helper()
	r.await(ctlLimit, func() bool { return r.ended })
	out := strings.Join(r.said(), "\n") + "\n"
	return Result{Args: r.cmd.Args, Stdout: out, Stderr: r.stderr.String(), Code: r.cmd.ProcessState.ExitCode()}
}
