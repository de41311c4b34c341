package host

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/shim"
	"github.com/gracefleet/gracefleet/agent/internal/socket"
)

// processes are those of the program on the slot, main or not: all in its cgroup,
// or where there is none, the descendants of the shim, which is what orphans of
// the program fall to (PR_SET_CHILD_SUBREAPER).
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
	if st.Empty {
		return nil
	}
	if c := st.Current; c.Inherited && c.Alive() {
		return append([]int{c.Process.PID}, below(c.Process.PID)...) // another shim's child
	}
	return below(st.PID)
}

func below(root int) []int {
	var pids []int
	for _, p := range shim.Descendants(root) {
		pids = append(pids, p.PID)
	}
	return pids
}

// descriptor is where a process holds a file.
type descriptor struct{ pid, fd int }

// heldSockets are the sockets that processes hold, by inode; known is false when
// none of their descriptors may be looked at.
func heldSockets(pids []int) (held map[uint64]descriptor, known bool) {
	held = map[uint64]descriptor{}
	for _, pid := range pids {
		sockets, err := socket.HeldBy(pid)
		if err != nil {
			continue
		}
		known = true
		for inode, fd := range sockets {
			held[inode] = descriptor{pid, fd}
		}
	}
	return held, known
}

// listening are the tcp addresses of those that listen.
func listening(held map[uint64]descriptor) ([]service.Address, error) {
	all, err := socket.TCPListeners()
	if err != nil {
		return nil, err
	}
	var out []service.Address
	for _, l := range all {
		if _, ok := held[l.Inode]; ok {
			out = append(out, l.Address)
		}
	}
	return out, nil
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
