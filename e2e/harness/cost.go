//go:build linux

package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Cost is what a command took.
type Cost struct {
	Wall, CPU time.Duration // CPU is user and system time
	// Memory is the most that was resident at a time, in bytes. It is never less than
	// the test's own memory was at the start of the command: the kernel counts that in
	// (getrusage(2): ru_maxrss survives an exec).
	Memory int64
}

func (c Cost) String() string {
	return fmt.Sprintf("%v, %v of CPU time, %d MB", c.Wall.Round(10*time.Millisecond), c.CPU.Round(10*time.Millisecond), c.Memory>>20)
}

// Measured runs a command that Command has prepared, and says what it took.
func Measured(cmd *exec.Cmd) (Result, Cost) {
	began := time.Now()
	r := Run(cmd)
	state := cmd.ProcessState
	c := Cost{Wall: time.Since(began), CPU: state.UserTime() + state.SystemTime()}
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		c.Memory = usage.Maxrss << 10
	}
	return r, c
}

// resident is how much memory a process has, in bytes.
func resident(t testing.TB, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// spent is the processor time that a process has used, by /proc/PID/stat (proc(5),
// fields 14 and 15, in hundredths of a second).
func spent(t testing.TB, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(string(f))
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
