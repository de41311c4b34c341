package store

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	treeName = "tree"
	// Bounds of an archive: what unpacks to more is no program.
	maxTreeEntries = 200_000
	maxTreeGrowth  = 8 // times the limit of an upload, in bytes
)

// Tree returns the directory of an artifact that is an archive, unpacked as its
// bytes say. It is quick (one stat for each file) unless something changed since
// it was unpacked, or the host booted. Errors are those of Verify.
func (s *Store) Tree(digest string) (string, error) {
	archive, err := s.Verify(digest)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(filepath.Dir(archive), treeName)
	defer s.names.lock(digest)() // of two starts at once only one unpacks
	a, m, err := s.artifact(digest)
	if err != nil {
		return "", err
	}
	if !m.Tree {
		return "", fmt.Errorf("artifact %s (%s): %w: it is no archive of a tree", digest, a.Name, ErrNotExecutable)
	}
	if stamp, _, err := s.treeStamp(dir); err == nil && stamp == m.TreeStamp {
		return dir, nil
	}
	stamp, size, err := s.unpackFile(archive, filepath.Dir(archive))
	if err != nil {
		return "", fmt.Errorf("artifact %s: %w", digest, diskFull(err))
	}
	m.TreeStamp, m.TreeBytes = stamp, size
	if err := s.writeMetadata(filepath.Dir(archive), m); err != nil && !errors.Is(err, ErrDiskFull) {
		return "", fmt.Errorf("artifact %s: %w", digest, err)
	}
	return dir, nil
}

func (s *Store) unpackFile(archive, parent string) (stamp string, size int64, err error) {
	f, err := os.Open(archive)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	return s.unpack(f, parent, maxTreeGrowth*s.options.UploadLimit)
}

// unpack makes parent/tree from an archive, in place of what was there, and says
// how it looks then, and how many bytes it has. More than limit are refused.
func (s *Store) unpack(archive io.Reader, parent string, limit int64) (stamp string, size int64, err error) {
	fresh, dir := filepath.Join(parent, ".unpacking"), filepath.Join(parent, treeName)
	if err := errors.Join(os.RemoveAll(fresh), os.Mkdir(fresh, 0o755)); err != nil {
		return "", 0, err
	}
	if err := unpackInto(archive, fresh, limit); err != nil {
		return "", 0, errors.Join(err, os.RemoveAll(fresh))
	}
	if err := errors.Join(os.Chmod(fresh, 0o755), syncTree(fresh)); err != nil {
		return "", 0, err
	}
	if err := errors.Join(os.RemoveAll(dir), os.Rename(fresh, dir)); err != nil {
		return "", 0, err
	}
	return s.treeStamp(dir)
}

func unpackInto(archive io.Reader, dir string, left int64) error {
	plain, err := decompressed(archive)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	files := 0
	for r, n := tar.NewReader(plain), 0; ; n++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: not a tar archive: %w", ErrNotExecutable, err)
		}
		if n == maxTreeEntries || h.Size > left {
			return fmt.Errorf("%w: the archive unpacks to too much", ErrTooLarge)
		}
		left -= h.Size
		if err := unpackEntry(root, h, r); err != nil {
			return fmt.Errorf("archive entry %q: %w", clip([]byte(h.Name), 80), err)
		}
		if h.Typeflag == tar.TypeReg {
			files++
		}
	}
	if files == 0 {
		return fmt.Errorf("%w: the archive has no file", ErrNotExecutable)
	}
	return nil
}

// decompressed looks whether the archive is compressed.
func decompressed(r io.Reader) (io.Reader, error) {
	head := make([]byte, 2)
	n, err := io.ReadFull(r, head)
	if err != nil {
		return nil, fmt.Errorf("%w: not a tar archive: %w", ErrNotExecutable, err)
	}
	whole := io.MultiReader(bytes.NewReader(head[:n]), r)
	if head[0] != 0x1f || head[1] != 0x8b {
		return whole, nil
	}
	z, err := gzip.NewReader(whole)
	if err != nil {
		return nil, fmt.Errorf("%w: not gzip: %w", ErrNotExecutable, err)
	}
	return z, nil
}

// unpackEntry makes one entry below the root, which nothing gets out of. Owners,
// times and special bits are not taken; devices and hard links are refused.
func unpackEntry(root *os.Root, h *tar.Header, content io.Reader) error {
	name := filepath.Clean(strings.TrimSuffix(h.Name, "/"))
	if name == "." {
		return nil
	}
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%w: it leads out of the tree", ErrNotExecutable)
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return root.Chmod(name, 0o755)
	case tar.TypeReg:
		return unpackRegular(root, name, h, content)
	case tar.TypeSymlink:
		if !staysInside(name, h.Linkname) {
			return fmt.Errorf("%w: the link to %q leads out of the tree", ErrNotExecutable, h.Linkname)
		}
		return root.Symlink(h.Linkname, name)
	case tar.TypeXGlobalHeader:
		return nil
	}
	return fmt.Errorf("%w: neither a file, a directory nor a symbolic link", ErrNotExecutable)
}

// staysInside says whether a link leads to somewhere in its tree.
func staysInside(name, target string) bool {
	return !path.IsAbs(target) && filepath.IsLocal(path.Join(path.Dir(name), target))
}

func unpackRegular(root *os.Root, name string, h *tar.Header, content io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o444)
	if h.Mode&0o111 != 0 {
		mode = 0o555
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Chmod(mode), f.Close())
}

// syncTree makes all of it durable: one call for the file system instead of one
// for each file.
func syncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd())))
}

// treeStamp is how a tree looks: any write changes a ctime, any boot the stamp. size
// is what its files have.
func (s *Store) treeStamp(dir string) (stamp string, size int64, err error) {
	sum := sha256.New()
	err = filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			size += info.Size()
		}
		v := s.look(info)
		name, _ := filepath.Rel(dir, file)
		_, err = fmt.Fprintf(sum, "%q %v %+v\n", name, info.Mode(), v)
		return err
	})
	return digestOf(sum), size, err
}
