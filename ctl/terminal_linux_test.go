package ctl

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/needs"
)

// screen is a real terminal: a pseudo-terminal whose other end is recorded.
type screen struct {
	tty, keys *os.File
	mu        sync.Mutex
	seen      bytes.Buffer
	grew      chan struct{}
	done      chan struct{}
}

func newScreen(t *testing.T, columns uint16) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		needs.That(t, false, "a pseudo-terminal: "+err.Error())
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	s := &screen{tty: tty, keys: master, grew: make(chan struct{}, 1), done: make(chan struct{})}
	go s.record()
	t.Cleanup(func() {
		tty.Close()
		<-s.done
		master.Close()
	})
	return s
}

// record ends with EIO, when the terminal's last user has closed it.
func (s *screen) record() {
	defer close(s.done)
	buffer := make([]byte, 4096)
	for {
		n, err := s.keys.Read(buffer)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.seen.Write(buffer[:n])
		s.mu.Unlock()
		select {
		case s.grew <- struct{}{}:
		default:
		}
	}
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.String()
}

// await waits until the screen has shown a text.
func (s *screen) await(t *testing.T, text string) {
	t.Helper()
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	for !strings.Contains(s.text(), text) {
		select {
		case <-s.grew:
		case <-limit.C:
			t.Fatalf("%q was not shown: %q", text, s.text())
		}
	}
}

func (s *screen) run(ctx context.Context, a *agent, env map[string]string, args ...string) int {
	return Run(ctx, append([]string{"--agent", "unix:" + a.socket}, args...), Stdio{
		In: s.tty, Out: s.tty, Err: s.tty, Getenv: func(k string) string { return env[k] },
	})
}

func TestLiveView(t *testing.T) {
	s := newScreen(t, 60)
	a := newAgent(t).begins(story()...)
	if code := s.run(t.Context(), a, nil, "upgrade", "web"); code != ExitDone {
		t.Errorf("exit %d", code)
	}
	s.await(t, "12 connections left\r\n")
	text := s.text()
	for _, want := range []string{"\x1b[32mACTIVE\x1b[0m", "CANARY, step 1 of 2", "A\r\x1b[J", "connections left"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %q", want, text)
		}
	}
	rows := strings.Split(text, "\r\n")
	for _, row := range rows[:len(rows)-2] { // all but the result
		row = row[strings.LastIndex(row, "\x1b[J")+1:]
		if n := len([]rune(plain(row))); n > 63 {
			t.Errorf("%d columns: %q", n, row)
		}
	}
	// What stays is the result alone: the last block was erased before it.
	_, last, _ := strings.Cut(text[strings.LastIndex(text, "\x1b[J"):], "\x1b[J")
	if !strings.HasPrefix(last, "web: generation 8 is active (was 7)") {
		t.Errorf("left on the screen: %q", last)
	}
}

// plain is text without colours.
func plain(text string) string {
	for _, c := range []string{"32", "33", "31", "2", "0"} {
		text = strings.ReplaceAll(text, "\x1b["+c+"m", "")
	}
	return text
}

func TestDumbAndColourlessTerminals(t *testing.T) {
	a := newAgent(t).begins(story()...)
	for _, test := range []struct {
		env  map[string]string
		args []string
		live bool
	}{
		{map[string]string{"NO_COLOR": "1"}, nil, true},
		{nil, []string{"--no-color"}, true},
		{map[string]string{"TERM": "dumb"}, nil, false},
	} {
		s := newScreen(t, 80)
		s.run(t.Context(), a, test.env, append([]string{"upgrade", "web"}, test.args...)...)
		s.await(t, "12 connections left\r\n")
		if strings.Contains(s.text(), "\x1b[3") || strings.Contains(s.text(), "\x1b[J") != test.live {
			t.Errorf("%v %v: %q", test.env, test.args, s.text())
		}
	}
}

func TestWatchedStatusIsLive(t *testing.T) {
	s := newScreen(t, 200)
	a := newAgent(t)
	a.looks = story()[:1]
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() { done <- s.run(ctx, a, nil, "status", "-w") }()
	s.await(t, "upgrade 7 -> 8: STARTING")
	cancel()
	if code := <-done; code != ExitDone {
		t.Errorf("exit %d", code)
	}
}

func TestDeleteAsks(t *testing.T) {
	a := newAgent(t).on(&pb.DeleteServiceRequest{}, &pb.DeleteServiceResponse{})
	for keys, deleted := range map[string]int{"y\n": 1, "yes\n": 1, "n\n": 0, "\n": 0} {
		s := newScreen(t, 80)
		before := len(asked[*pb.DeleteServiceRequest](a))
		done := make(chan int)
		go func() { done <- s.run(t.Context(), a, nil, "delete", "web") }()
		s.await(t, "[y/N]")
		s.keys.WriteString(keys)
		code := <-done
		if n := len(asked[*pb.DeleteServiceRequest](a)) - before; n != deleted || code != 1-deleted {
			t.Errorf("%q: exit %d, %d deleted", keys, code, n)
		}
	}
}

func TestLogsCannotTakeTheTerminal(t *testing.T) {
	a := newAgent(t)
	a.lines = []*pb.ReadLogsResponse{{Generation: 7, Time: at(0), Line: []byte("a\x1b]0;owned\x07b")}}
	s := newScreen(t, 80)
	if code := s.run(t.Context(), a, nil, "logs", "web"); code != ExitDone {
		t.Errorf("exit %d", code)
	}
	s.await(t, `7 | a\x1b]0;owned\x07b`)
}

func TestBarOnATerminal(t *testing.T) {
	path, digest, _ := binary(t, 1<<20)
	a := newAgent(t)
	s := newScreen(t, 80)
	if code := s.run(t.Context(), a, nil, "push", path); code != ExitDone {
		t.Errorf("exit %d", code)
	}
	s.await(t, digest)
	if !strings.Contains(s.text(), "pushing web [=") || !strings.Contains(s.text(), "pushed web (1.0 MiB)") {
		t.Errorf("%q", s.text())
	}
}

// A key's password is typed twice when it is made, and once when it signs, and never
// shown.
func TestPasswordsAreNotShown(t *testing.T) {
	t.Parallel() // encrypting takes its time, and a gigabyte
	d := newDesk(t)
	type typing struct{ prompt, keys string }
	run := func(args string, typed ...typing) (int, *screen) {
		s := newScreen(t, 200)
		done := make(chan int)
		go func() {
			done <- Run(t.Context(), strings.Fields(strings.ReplaceAll(args, "DIR", d.dir)), Stdio{In: s.tty, Out: s.tty, Err: s.tty, Getenv: func(string) string { return "" }})
		}()
		for _, k := range typed {
			s.await(t, k.prompt)
			s.awaitUnseen(t)
			s.keys.WriteString(k.keys + "\n")
		}
		return <-done, s
	}
	if code, _ := run("sign keygen DIR/mine", typing{"password for the new key", "geheim"}, typing{"the same again", "other"}); code != ExitError {
		t.Errorf("two passwords: exit %d", code)
	}
	if code, _ := run("sign keygen DIR/mine", typing{"password for the new key", ""}, typing{"the same again", ""}); code != ExitError {
		t.Errorf("no password: exit %d", code)
	}
	code, made := run("sign keygen DIR/mine", typing{"password for the new key", "geheim"}, typing{"the same again", "geheim"})
	if code != ExitDone {
		t.Fatalf("exit %d: %s", code, made.text())
	}
	code, wrong := run("sign "+asRelease42+" --key testdata/typed.key", typing{"password of", "falsch"})
	if wrong.await(t, "the password is wrong"); code != ExitError {
		t.Errorf("a wrong password: exit %d", code)
	}
	code, signed := run("sign "+asRelease42+" --key testdata/typed.key", typing{"password of", "geheim"})
	if code != ExitDone {
		t.Errorf("exit %d: %s", code, signed.text())
	}
	if text := made.text() + signed.text(); strings.Contains(text, "geheim") {
		t.Errorf("the password is on the screen: %q", text)
	}
	info, err := os.Stat(d.dir + "/mine.key")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file is %v: %v", info, err)
	}
	d.must(t, "verify DIR/web-v2 --public-key testdata/typed.pub")
}

// awaitUnseen waits until the terminal has stopped to show what is typed.
func (s *screen) awaitUnseen(t *testing.T) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		state, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if state.Lflag&unix.ECHO == 0 {
			return
		}
		if time.Now().After(limit) {
			t.Fatal("what is typed is shown")
		}
	}
}

// An interrupted question leaves the terminal as it was.
func TestInterruptedPassword(t *testing.T) {
	d := newDesk(t)
	s := newScreen(t, 200)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		done <- Run(ctx, []string{"sign", "keygen", d.dir + "/mine"}, Stdio{In: s.tty, Out: s.tty, Err: s.tty, Getenv: func(string) string { return "" }})
	}()
	s.await(t, "password for the new key")
	s.awaitUnseen(t)
	cancel()
	if code := <-done; code == ExitDone {
		t.Errorf("exit %d", code)
	}
	state, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
	if err != nil || state.Lflag&unix.ECHO == 0 {
		t.Errorf("the terminal shows nothing any more: %v", err)
	}
	s.keys.WriteString("\n") // for the read that goes on
}
