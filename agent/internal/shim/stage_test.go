package shim

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// waiting is the exec stage that a shim forked ahead.
func waiting(t *testing.T, c *Client) int {
	t.Helper()
	shim := c.Hello().State.PID
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", shim))
		for _, path := range tasks {
			b, _ := os.ReadFile(path)
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
				return pid
			}
		}
	}
	t.Fatal("the shim has no stage")
	return 0
}

// A stage that was forked ahead becomes the program, with the descriptors that
// exist only since. One that does not fit, or is gone, is replaced.
func TestStageAhead(t *testing.T) {
	for name, c := range map[string]struct {
		descriptors int
		kill        bool
		used        bool
	}{
		"fits":  {descriptors: 2, used: true},
		"small": {descriptors: 1},
		"big":   {descriptors: 3},
		"gone":  {descriptors: 2, kill: true},
	} {
		t.Run(name, func(t *testing.T) {
			in := testIntent(t)
			in.Stage = &StageIntent{Descriptors: c.descriptors}
			client := spawnTest(t, in)
			pid := waiting(t, client)
			if c.kill {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				for syscall.Kill(pid, 0) == nil {
					time.Sleep(time.Millisecond)
				}
			}
			a, b := tcpSocket(t, "a"), tcpSocket(t, "b")
			listeners, err := client.Open(testContext(t), []service.Socket{a, b}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range listeners {
				l.File.Close()
			}
			p := program(in, 1)
			p.Sockets = []string{"b", "a"}
			i := start(t, client, p)
			await(t, client, EventReady)
			if used := i.Process.PID == pid; used != c.used {
				t.Errorf("the program is process %d, the stage was %d", i.Process.PID, pid)
			}
			if !c.used && syscall.Kill(pid, 0) == nil {
				t.Errorf("stage %d lives on", pid)
			}
			for _, s := range []service.Socket{a, b} {
				address := fmt.Sprintf("127.0.0.1:%d", s.Address.Port)
				if got, want := ask(t, "tcp", address, "pid"), fmt.Sprint(i.Process.PID); !strings.HasPrefix(got, want+" "+want+" ") {
					t.Errorf("%s: %q answers, want pid and LISTEN_PID %s", s.Name, got, want)
				}
			}
			// A later instance has a stage of its own.
			if err := client.Kill(testContext(t), "1"); err != nil {
				t.Fatal(err)
			}
			await(t, client, EventEmpty)
			p.Instance = 2
			if again := start(t, client, p); again.Process.PID == i.Process.PID {
				t.Errorf("the second instance is the first")
			}
			await(t, client, EventReady)
		})
	}
}

// A shim that goes takes its stage with it.
func TestStageEndsWithItsShim(t *testing.T) {
	in := testIntent(t)
	in.Stage = &StageIntent{Descriptors: 1}
	c := spawnTest(t, in)
	pid := waiting(t, c)
	p, err := Identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Dismiss(testContext(t), false); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); p.Same(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("stage %d lives on", pid)
		}
	}
}
