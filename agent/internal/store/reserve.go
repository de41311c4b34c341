package store

import (
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// reserve is a file whose space is given up when a state write finds the disk
// full: the agent must be able to record that it rolls back even then.
type reserve struct {
	path string
	size int64

	mu   sync.Mutex
	held bool
}

// release frees the space and says whether there was any.
func (r *reserve) release() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.held {
		return false
	}
	r.held = false
	return os.Remove(r.path) == nil
}

// restore takes the space again when the disk has twice as much free. Failing
// to is no error: a full disk is where one lives without.
func (r *reserve) restore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held || r.size <= 0 || !r.roomy() {
		return
	}
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil && st.Size() == r.size {
		r.held = true
		return
	}
	if unix.Fallocate(int(f.Fd()), 0, 0, r.size) != nil {
		_ = os.Remove(r.path)
		return
	}
	r.held = true
}

// roomy says whether the reserve is there already or would not fill the disk.
func (r *reserve) roomy() bool {
	if info, err := os.Lstat(r.path); err == nil && info.Size() == r.size {
		return true
	}
	var st unix.Statfs_t
	err := unix.Statfs(filepath.Dir(r.path), &st)
	return err == nil && int64(st.Bavail)*st.Bsize >= 2*r.size
}
