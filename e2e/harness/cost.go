//go:build linux

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
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

// resident is how much memory a process has, in bytes; 0 when that is not known.
func resident(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	kib, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	n, err := strconv.ParseInt(kib, 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// spent is the CPU time that a process has taken so far; 0 when that is not known.
func spent(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// After the name in parentheses, which may hold anything, come state and 10 more;
	// then user and system time in ticks of 10 ms (proc(5)).
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
