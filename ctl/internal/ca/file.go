package ca

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const tempPrefix = ".tmp-"

// batch is files that are written in full before the first of them gets its name:
// a full disk or a missing permission shows before anything has changed.
type batch struct {
	files []staged
}

type staged struct{ temp, path string }

// add writes a file under a temporary name.
func (b *batch) add(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix)
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

// commit gives the files their names, in the order in which they were added.
func (b *batch) commit() error {
	for len(b.files) > 0 {
		f := b.files[0]
		if err := os.Rename(f.temp, f.path); err != nil {
			return err
		}
		b.files = b.files[1:]
		if err := syncDir(filepath.Dir(f.path)); err != nil {
			return err
		}
	}
	return nil
}

// discard removes what was not committed.
func (b *batch) discard() {
	for _, f := range b.files {
		_ = os.Remove(f.temp)
	}
	b.files = nil
}

// replace puts data at path so that after a crash at any instant the old bytes or
// the new ones are found, whole.
func replace(path string, data []byte, mode fs.FileMode) error {
	var b batch
	defer b.discard()
	if err := b.add(path, data, mode); err != nil {
		return err
	}
	return b.commit()
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
