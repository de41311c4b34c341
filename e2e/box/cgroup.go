//go:build linux

package box

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where the host has its cgroup v2 hierarchy: alone, or beside
// the controllers of version 1. Empty: nowhere.
func cgroupRoot() string {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	return ""
}

// removeCgroup removes the cgroup dir and those below it, which must be empty
// of processes.
func removeCgroup(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	slices.Reverse(dirs) // children first
	for _, dir := range dirs {
		err = errors.Join(err, os.Remove(dir))
	}
	return err
}
