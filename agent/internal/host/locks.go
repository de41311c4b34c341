package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Locks are the files outside its own directory on which the program has an
// exclusive lock: a second copy beside it would wait for them, or fail.
func (s *slot) Locks() ([]string, error) {
	table, err := os.ReadFile("/proc/locks")
	if err != nil {
		return nil, fmt.Errorf("list the locks: %w", err)
	}
	pids := s.processes()
	var out []string
	for _, l := range exclusiveLocks(string(table)) {
		if !slices.Contains(pids, l.pid) {
			continue
		}
		path := lockedPath(l)
		private := s.host.generationPath(s.intent.Service, int(s.leased.Load()))
		if path != "" && !strings.HasPrefix(path, private+"/") && !slices.Contains(out, path) {
			out = append(out, path)
		}
	}
	return out, nil
}

// fileLock is a line of /proc/locks.
type fileLock struct {
	pid          int
	major, minor uint32
	inode        uint64
}

// exclusiveLocks reads /proc/locks (proc(5)):
// "1: FLOCK  ADVISORY  WRITE 812 fe:00:1234 0 EOF". Lines with "->" wait for another.
func exclusiveLocks(table string) []fileLock {
	var out []fileLock
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] == "->" || f[3] != "WRITE" {
			continue
		}
		var l fileLock
		if _, err := fmt.Sscanf(f[5], "%x:%x:%d", &l.major, &l.minor, &l.inode); err != nil {
			continue
		}
		if l.pid, _ = strconv.Atoi(f[4]); l.pid > 0 {
			out = append(out, l)
		}
	}
	return out
}

// lockedPath finds the file among the descriptors of who has locked it; empty if it
// is removed, or not to be seen.
func lockedPath(l fileLock) string {
	dir := filepath.Join("/proc", strconv.Itoa(l.pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		var st unix.Stat_t
		fd := filepath.Join(dir, e.Name())
		if unix.Stat(fd, &st) != nil || st.Ino != l.inode || unix.Major(st.Dev) != l.major || unix.Minor(st.Dev) != l.minor {
			continue
		}
		if path, err := os.Readlink(fd); err == nil && filepath.IsAbs(path) && !strings.HasSuffix(path, " (deleted)") {
			return path
		}
	}
	return ""
}
