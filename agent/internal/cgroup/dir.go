package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is the directory of one cgroup; empty is none.
type Dir string

func (d Dir) file(name string) string { return filepath.Join(string(d), name) }

// ID is the cgroup's id, its inode: what sock_diag's INET_DIAG_BC_CGROUP_COND
// takes.
func (d Dir) ID() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(string(d), &st); err != nil {
		return 0, fmt.Errorf("cgroup %s: %w", d, err)
	}
	return st.Ino, nil
}

// Add moves a process, with its threads, into the cgroup.
func (d Dir) Add(pid int) error {
	if err := os.WriteFile(d.file("cgroup.procs"), strconv.AppendInt(nil, int64(pid), 10), 0); err != nil {
		return fmt.Errorf("move process %d into its cgroup: %w", pid, err)
	}
	return nil
}

// Pids lists the processes in the cgroup itself and in those below it.
func (d Dir) Pids() ([]int, error) {
	var pids []int
	err := filepath.WalkDir(string(d), func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !e.IsDir() {
			return nil
		}
		own, err := Dir(path).ownPids()
		pids = append(pids, own...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the processes of cgroup %s: %w", d, err)
	}
	return pids, nil
}

func (d Dir) ownPids() ([]int, error) {
	b, err := os.ReadFile(d.file("cgroup.procs"))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENODEV) {
		return nil, nil // a threaded cgroup lists processes at its root; or just removed
	}
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, field := range strings.Fields(string(b)) {
		// 0 is a process that our pid namespace cannot see.
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Populated says whether a process lives in the cgroup or below it. A cgroup
// that is gone is not populated.
func (d Dir) Populated() (bool, error) {
	b, err := os.ReadFile(d.file("cgroup.events"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cgroup %s: %w", d, err)
	}
	return populated(b), nil
}

func populated(events []byte) bool {
	for line := range strings.Lines(string(events)) {
		if strings.TrimSpace(line) == "populated 1" {
			return true
		}
	}
	return false
}

// Remove removes the cgroup and those below it, and its service's when that was
// the last. One that is gone already is removed; a populated one is EBUSY.
func (d Dir) Remove() error {
	entries, err := os.ReadDir(string(d))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if err := Dir(d.file(e.Name())).Remove(); err != nil {
			return err
		}
	}
	if err := unix.Rmdir(string(d)); err != nil && err != unix.ENOENT {
		return fmt.Errorf("remove cgroup %s: %w", d, err)
	}
	if parent := filepath.Dir(string(d)); strings.HasPrefix(filepath.Base(parent), "svc-") {
		unix.Rmdir(parent) // fails while siblings are left
	}
	return nil
}
