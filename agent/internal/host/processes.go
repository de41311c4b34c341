package host

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
)

// processes are those of the program on the slot: all in its cgroup, or where
// there is none, its main process and its descendants.
func (s *slot) processes() []int {
	st, _, _ := s.keeper.snapshot()
	if st.Current == nil {
		return nil
	}
	if s.cgroup != "" {
		if d, err := s.host.generationCgroup(s.intent.Service, int(s.leased.Load())); err == nil {
			if pids, err := d.Pids(); err == nil && len(pids) > 0 {
				return pids
			}
		}
	}
	if !st.Current.Alive() {
		return nil
	}
	return descendants(st.Current.Process.PID)
}

// descendants are a process and everything below it, as far as parents tell.
func descendants(root int) []int {
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return []int{root}
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if parent, ok := parentOf(pid); ok {
				children[parent] = append(children[parent], pid)
			}
		}
	}
	out := []int{root}
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i]]...)
	}
	return out
}

// parentOf is field 4 of /proc/PID/stat; the name before it may hold anything.
func parentOf(pid int) (int, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	_, rest, ok := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 2 {
		return 0, false
	}
	parent, err := strconv.Atoi(fields[1])
	return parent, err == nil
}

// heldSockets are the sockets that processes hold, by inode, and where in /proc
// each was seen; known is false when none of their descriptors may be looked at.
func heldSockets(pids []int) (held map[uint64]string, known bool) {
	held = map[uint64]string{}
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		known = true
		for _, fd := range fds {
			path := filepath.Join(dir, fd.Name())
			if inode, ok := socketAt(path); ok {
				held[inode] = path
			}
		}
	}
	return held, known
}

// socketAt is the inode of the socket that an entry of /proc/PID/fd leads to.
func socketAt(path string) (inode uint64, ok bool) {
	link, err := os.Readlink(path)
	if err != nil {
		return 0, false
	}
	number, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	inode, err = strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
	return inode, err == nil
}

func inodeOf(f *os.File) (uint64, error) {
	var st unix.Stat_t
	if err := listen.Control(f, func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return 0, err
	}
	return st.Ino, nil
}

// residentBytes is what processes have in memory (statm, proc(5)).
func residentBytes(pids []int) uint64 {
	var pages uint64
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			continue
		}
		if f := strings.Fields(string(b)); len(f) > 2 {
			resident, _ := strconv.ParseUint(f[1], 10, 64)
			shared, _ := strconv.ParseUint(f[2], 10, 64)
			pages += resident - min(shared, resident)
		}
	}
	return pages * uint64(os.Getpagesize())
}

func availableBytes() (uint64, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kib, err := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/meminfo has no MemAvailable")
}
