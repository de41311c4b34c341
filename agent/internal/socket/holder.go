package socket

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Process is who holds a socket.
type Process struct {
	PID     int
	Program string // path of the executable, or the command's name
	Unit    string // systemd unit; empty if there is none
}

// Holder finds a process that holds the socket with this inode. It reads
// /proc/PID/fd, so an ordinary user finds only processes of their own.
func Holder(inode uint64) (Process, bool) {
	p, ok := holders(map[uint64]bool{inode: true})[inode]
	return p, ok
}

// HoldersOf finds every process that holds one of some sockets, as far as this user
// may look.
func HoldersOf(inodes map[uint64]bool) []Process {
	var out []Process
	for _, pid := range pids() {
		sockets, _ := HeldBy(pid)
		for ino := range sockets {
			if inodes[ino] {
				out = append(out, describe(pid))
				break
			}
		}
	}
	return out
}

// holders scans /proc once; of several holders the lowest pid counts.
func holders(inodes map[uint64]bool) map[uint64]Process {
	found := map[uint64]Process{}
	for _, pid := range pids() {
		if len(found) == len(inodes) {
			break
		}
		sockets, _ := HeldBy(pid)
		for ino := range sockets {
			if _, known := found[ino]; inodes[ino] && !known {
				found[ino] = describe(pid)
			}
		}
	}
	return found
}

func pids() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

// HeldBy returns the sockets that a process holds: their numbers by inode.
func HeldBy(pid int) (map[uint64]int, error) {
	dir, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	out := map[uint64]int{}
	for _, n := range names {
		target, err := os.Readlink(filepath.Join(dir.Name(), n))
		if err != nil {
			continue // closed meanwhile
		}
		if ino, ok := socketInode(target); ok {
			out[ino], _ = strconv.Atoi(n)
		}
	}
	if ending(pid) {
		return nil, fmt.Errorf("process %d is ending", pid)
	}
	return out, nil
}

// ending says whether a process is on its way out: it has no descriptors any more then,
// which is not the same as having closed them. The kernel sets PF_EXITING before it
// takes them away (do_exit; proc(5), field 9 of stat).
func ending(pid int) bool {
	const exiting = 0x4
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return true
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // from field 3 on
	if len(fields) < 7 {
		return true
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err != nil || flags&exiting != 0
}

// HeldAt is the inode of the socket that a process has under a number.
func HeldAt(pid, fd int) (inode uint64, ok bool) {
	link, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "fd", strconv.Itoa(fd)))
	if err != nil {
		return 0, false
	}
	return socketInode(link)
}

// socketInode reads "socket:[N]".
func socketInode(link string) (uint64, bool) {
	s, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	ino, err := strconv.ParseUint(strings.TrimSuffix(s, "]"), 10, 64)
	return ino, err == nil
}

func describe(pid int) Process {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	p := Process{PID: pid}
	if exe, err := os.Readlink(filepath.Join(dir, "exe")); err == nil {
		p.Program = exe
	} else if comm, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
		p.Program = strings.TrimSpace(string(comm))
	}
	p.Unit = UnitOf(pid)
	return p
}

// UnitOf is the systemd unit of a process; empty if there is none.
func UnitOf(pid int) string {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return ""
	}
	return unitOf(string(b))
}

// unitOf finds the innermost service, socket or scope in /proc/PID/cgroup, whose
// lines are "ID:CONTROLLERS:PATH"; systemd's are those with ID 0 or name=systemd.
func unitOf(cgroups string) string {
	for line := range strings.Lines(cgroups) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 || (f[0] != "0" && f[1] != "name=systemd") {
			continue
		}
		parts := strings.Split(f[2], "/")
		for i := len(parts) - 1; i >= 0; i-- {
			switch filepath.Ext(parts[i]) {
			case ".service", ".scope", ".socket":
				return parts[i]
			}
		}
	}
	return ""
}
