package wholefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// TempPrefix begins the names of files that are being written.
const TempPrefix = ".gracefleet-tmp-"

// Batch is files that are written in full before the first of them gets its name:
// a full disk or a missing permission shows before anything has changed. It is not
// safe for concurrent use.
type Batch struct {
	files []staged
}

type staged struct{ temp, path string }

// Add writes a file under a temporary name.
func (b *Batch) Add(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), TempPrefix)
	if err != nil {
		return err
	}
	b.files = append(b.files, staged{f.Name(), path})
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Commit gives the files their names, in the order in which they were added.
func (b *Batch) Commit() error {
	for len(b.files) > 0 {
		f := b.files[0]
		if err := os.Rename(f.temp, f.path); err != nil {
			return err
		}
		b.files = b.files[1:]
		if err := SyncDir(filepath.Dir(f.path)); err != nil {
			return err
		}
	}
	return nil
}

// Discard removes what was not committed.
func (b *Batch) Discard() {
	for _, f := range b.files {
		_ = os.Remove(f.temp)
	}
	b.files = nil
}

// Replace puts data at path so that after a crash at any instant the old bytes or
// the new ones are found, whole.
func Replace(path string, data []byte, mode fs.FileMode) error {
	var b Batch
	defer b.Discard()
	if err := b.Add(path, data, mode); err != nil {
		return err
	}
	return b.Commit()
}

// Sweep removes from a directory what a writer left that was cut off. Nobody may be
// writing there.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), TempPrefix) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
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
