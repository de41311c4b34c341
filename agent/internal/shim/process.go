package shim

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Identify names a live process for good.
func Identify(pid int) (Process, error) {
	st, err := readStat(pid)
	if err != nil {
		return Process{}, err
	}
	return Process{PID: pid, StartTime: st.start, BootID: bootID()}, nil
}

// Same says whether the process of that name is the one that has its pid now.
func (p Process) Same() bool {
	now, err := Identify(p.PID)
	return err == nil && now == p
}

// open returns a pidfd of exactly this process; the check after opening makes
// pid reuse harmless.
func (p Process) open() (int, error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return -1, os.NewSyscallError("pidfd_open", err)
	}
	if !p.Same() {
		unix.Close(fd)
		return -1, fmt.Errorf("process %d: %w", p.PID, ErrNotRunning)
	}
	return fd, nil
}

type stat struct {
	state  byte
	parent int
	start  uint64
}

// readStat reads what is needed of /proc/PID/stat (proc(5)).
func readStat(pid int) (stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, fmt.Errorf("process %d: %w", pid, err)
	}
	st, ok := parseStat(string(b))
	if !ok {
		return stat{}, fmt.Errorf("process %d: cannot read its stat", pid)
	}
	return st, nil
}

func parseStat(s string) (stat, bool) {
	// The command's name may hold anything, also ") ": fields begin after the
	// last parenthesis, with field 3.
	i := strings.LastIndexByte(s, ')')
	if i < 0 {
		return stat{}, false
	}
	fields := strings.Fields(s[i+1:])
	if len(fields) < 20 {
		return stat{}, false
	}
	parent, err1 := strconv.Atoi(fields[1])
	start, err2 := strconv.ParseUint(fields[19], 10, 64)
	return stat{state: fields[0][0], parent: parent, start: start}, err1 == nil && err2 == nil
}

func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

// awaitExit returns when the pidfd's process has ended, and closes it. It parks
// a goroutine in the poller, not a thread in the kernel.
func awaitExit(pidfd int) {
	_ = unix.SetNonblock(pidfd, true)
	f := os.NewFile(uintptr(pidfd), "pidfd")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return n > 0 || (err != nil && err != unix.EINTR)
	})
}

// Descendants lists the live processes below a root, without it. Zombies are
// not alive.
func Descendants(root int) []Process {
	children := map[int][]Process{}
	boot := bootID()
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if st, err := readStat(pid); err == nil {
			p := Process{PID: pid, BootID: boot}
			if st.state != 'Z' && st.state != 'X' {
				p.StartTime = st.start
			}
			children[st.parent] = append(children[st.parent], p)
		}
	}
	var all []Process
	for next := []int{root}; len(next) > 0; next = next[1:] {
		for _, p := range children[next[0]] {
			next = append(next, p.PID)
			if p.StartTime != 0 {
				all = append(all, p)
			}
		}
	}
	return all
}
