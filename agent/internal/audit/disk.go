package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// directory is what a record asks of its directory. Tests have one that loses what
// was not synced.
type directory interface {
	// names lists what there is.
	names() ([]string, error)
	// open opens a file to be read, and to be written as well.
	open(name string, write bool) (file, error)
	// create opens a file that does not exist or is empty, to be written.
	create(name string) (file, error)
	// replace puts data in the place of a file, durably: afterwards, also after a
	// failure, it has the old content or the new one.
	replace(name string, data []byte) error
	remove(name string) error
	// sync makes the names durable.
	sync() error
	close() error
}

// file is what a record asks of a file.
type file interface {
	io.ReaderAt
	io.WriterAt
	size() (int64, error)
	// truncate gives back what was reserved, too.
	truncate(size int64) error
	// reserve keeps space up to an end that the file does not have yet.
	reserve(end int64) error
	// sync makes the content durable, and the size.
	sync() error
	Close() error
}

// disk is a real directory. Names in it are opened relative to its descriptor and
// never through a symbolic link.
type disk struct {
	dir *os.File
}

// openDisk opens the directory, which it makes where it is missing, keeps others out
// and locks it: two that write would make two chains.
func openDisk(path string) (*disk, error) {
	if err := makeDir(path); err != nil {
		return nil, fmt.Errorf("audit: %w", full(err))
	}
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	d := &disk{dir: dir}
	if err := d.claim(); err != nil {
		dir.Close()
		return nil, fmt.Errorf("audit: %w", err)
	}
	return d, nil
}

func makeDir(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	return parent.Sync()
}

func (d *disk) claim() error {
	info, err := d.dir.Stat()
	if err != nil {
		return err
	}
	if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != os.Geteuid() {
		return fmt.Errorf("directory %s belongs to uid %d, the agent runs as uid %d: chown it", d.dir.Name(), uid, os.Geteuid())
	}
	if err := d.dir.Chmod(0o700); err != nil {
		return err
	}
	err = unix.Flock(int(d.dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("directory %s is in use by another agent: stop it, or give this one another --state-dir", d.dir.Name())
	}
	return os.NewSyscallError("flock "+d.dir.Name(), err)
}

func (d *disk) names() ([]string, error) {
	if _, err := d.dir.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return d.dir.Readdirnames(-1)
}

func (d *disk) open(name string, write bool) (file, error) {
	if write {
		return d.openat(name, unix.O_RDWR)
	}
	return d.openat(name, unix.O_RDONLY)
}

func (d *disk) create(name string) (file, error) {
	f, err := d.openat(name, unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		return nil, err
	}
	if n, err := f.size(); err != nil || n > 0 {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("%s is there already, with %d bytes", d.path(name), n))
	}
	return f, nil
}

// openat accepts regular files alone; it does not wait for the writer of a pipe.
func (d *disk) openat(name string, flags int) (*diskFile, error) {
	fd, err := unix.Openat(int(d.dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: d.path(name), Err: err}
	}
	f := &diskFile{os.NewFile(uintptr(fd), d.path(name))}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", f.Name())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (d *disk) replace(name string, data []byte) error {
	tmp := "." + name + ".tmp"
	_ = d.remove(tmp) // of an agent that was killed
	if err := d.writeSynced(tmp, data); err != nil {
		_ = d.remove(tmp)
		return err
	}
	fd := int(d.dir.Fd())
	if err := unix.Renameat(fd, tmp, fd, name); err != nil {
		_ = d.remove(tmp)
		return os.NewSyscallError("rename "+d.path(name), err)
	}
	return d.sync()
}

func (d *disk) writeSynced(name string, data []byte) error {
	f, err := d.create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.sync()
	}
	return errors.Join(err, f.Close())
}

func (d *disk) remove(name string) error {
	if err := unix.Unlinkat(int(d.dir.Fd()), name, 0); err != nil {
		return os.NewSyscallError("remove "+d.path(name), err)
	}
	return nil
}

func (d *disk) sync() error { return d.dir.Sync() }

func (d *disk) close() error { return d.dir.Close() }

func (d *disk) path(name string) string { return filepath.Join(d.dir.Name(), name) }

type diskFile struct{ *os.File }

func (f *diskFile) size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f *diskFile) truncate(size int64) error { return f.Truncate(size) }

func (f *diskFile) reserve(end int64) error {
	return os.NewSyscallError("fallocate "+f.Name(), unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, end))
}

func (f *diskFile) sync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("fdatasync "+f.Name(), err)
		}
	}
}
