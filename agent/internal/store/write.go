package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// replace puts data at path so that after a crash or power cut at any instant
// the old bytes or the new ones are found, whole, and once it has returned nil,
// the new ones. When prev is not empty, the old file is kept there. Calls for
// one path must not overlap. On ErrDiskFull the old bytes are in place.
//
// Between the two renames only prev exists, which a reader then takes. Without
// the fsync of the directory the last acknowledged write is lost in a power cut.
func (s *Store) replace(path, prev string, data []byte) error {
	return s.withReserve(func() error { return replaceFile(path, prev, data) })
}

// withReserve runs write, and once more after giving up the reserved space if
// the disk is full.
func (s *Store) withReserve(write func() error) error {
	err := write()
	if isDiskFull(err) && s.reserve.release() {
		err = write()
	}
	if err == nil {
		s.reserve.restore()
	}
	return diskFull(err)
}

func replaceFile(path, prev string, data []byte) error {
	dir, base := filepath.Split(path)
	tmp := filepath.Join(dir, "."+base+".tmp")
	if err := writeSynced(tmp, data); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	if prev != "" {
		if err := os.Rename(path, prev); err != nil && !errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(tmp)
			return err
		}
	}
	if err := os.Rename(tmp, path); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return syncDir(dir)
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("fsync of directory %s: %w", dir, err)
	}
	return nil
}

// keyed is one mutex per name.
type keyed struct {
	mu    sync.Mutex
	locks map[string]*sync.Mutex
}

func (k *keyed) lock(name string) (unlock func()) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[string]*sync.Mutex{}
	}
	m := k.locks[name]
	if m == nil {
		m = &sync.Mutex{}
		k.locks[name] = m
	}
	k.mu.Unlock()
	m.Lock()
	return m.Unlock
}
