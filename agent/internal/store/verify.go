package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// verified is how a file looked when its bytes were last hashed. Any write
// changes ctime, which no program can set back (inode(7)); the boot id guards
// against what happened to the disk while the host was down.
type verified struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	Size   int64  `json:"size"`
	Mtime  int64  `json:"mtime"` // nanoseconds
	Ctime  int64  `json:"ctime"` // nanoseconds
	Boot   string `json:"boot"`
}

func (s *Store) look(info fs.FileInfo) verified {
	st := info.Sys().(*syscall.Stat_t)
	return verified{
		Device: st.Dev, Inode: st.Ino, Size: st.Size,
		Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(), Boot: s.boot,
	}
}

// Verify returns the path of an artifact whose bytes are those of its digest.
// It is quick (one stat) unless the file or the boot changed since it was last
// hashed. It fails with ErrNotFound or ErrDigestMismatch.
func (s *Store) Verify(digest string) (string, error) {
	a, m, err := s.artifact(digest)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(a.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("artifact %s: %w: its file %s was removed; push it again", digest, ErrNotFound, a.Path)
	}
	if err != nil {
		return "", fmt.Errorf("artifact %s: %w", digest, err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("artifact %s: %w: %s is %s: delete it and push it again", digest, ErrDigestMismatch, a.Path, kindOfFile(info.Mode()))
	}
	if m.Verified == s.look(info) {
		return a.Path, nil
	}
	if err := s.verifyAll(a, m); err != nil {
		return "", err
	}
	return a.Path, nil
}

// verifyAll hashes every byte and remembers how the file looked before.
func (s *Store) verifyAll(a Artifact, m metadata) error {
	seen, got, err := s.hashFile(a.Path)
	if err != nil {
		return fmt.Errorf("artifact %s: %w", a.Digest, err)
	}
	if got != a.Digest {
		return fmt.Errorf("artifact %s: %w: %s now holds %s; delete it and push it again", a.Digest, ErrDigestMismatch, a.Path, got)
	}
	defer s.names.lock(a.Digest)()
	m.Verified = seen
	if err := s.writeMetadata(filepath.Dir(a.Path), m); err != nil && !errors.Is(err, ErrDiskFull) {
		return fmt.Errorf("artifact %s: %w", a.Digest, err)
	}
	return nil // on a full disk the next start hashes again
}

// hashFile returns how a regular file looked before it was read, and its digest.
func (s *Store) hashFile(path string) (verified, string, error) {
	f, err := openRegular(path)
	if err != nil {
		return verified{}, "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return verified{}, "", err
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, f, make([]byte, 256<<10)); err != nil {
		return verified{}, "", err
	}
	return s.look(info), digestOf(h), nil
}

func digestOf(h hash.Hash) string {
	return fmt.Sprintf("%s%x", digestPrefix, h.Sum(nil))
}

// openRegular opens without waiting for a writer of a fifo.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w: %s", path, ErrNotExecutable, kindOfFile(info.Mode()))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// hostDigest is a hashed program of the host.
type hostDigest struct {
	seen   verified
	digest string
}

// OpenArtifact opens the file of a stored artifact to be read, for those who may. Errors
// are those of Verify.
func (s *Store) OpenArtifact(digest string) (*os.File, error) {
	path, err := s.Verify(digest)
	if err != nil {
		return nil, err
	}
	f, err := openRegular(path)
	if err != nil {
		return nil, fmt.Errorf("artifact %s: %w", digest, err)
	}
	return f, nil
}

// HostArtifact inspects and hashes a program that the host itself provides
// ("host:/usr/sbin/nginx"); path is absolute. The digest is remembered until
// the file changes. Errors are those of Inspect.
func (s *Store) HostArtifact(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("host program %q: the path must be absolute", path)
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("host program %s: %w: install it on this host", path, ErrNotFound)
	}
	if err != nil {
		return "", fmt.Errorf("host program: %w", err)
	}
	s.mu.Lock()
	known := s.hosts[path]
	s.mu.Unlock()
	if known.digest != "" && known.seen == s.look(info) {
		return known.digest, nil
	}
	if info.Mode().IsRegular() && info.Mode()&0o111 == 0 {
		return "", fmt.Errorf("host program %s: %w: it has no execute permission", path, ErrNotExecutable)
	}
	if _, err := Inspect(path); err != nil {
		return "", err
	}
	seen, digest, err := s.hashFile(path)
	if err != nil {
		return "", fmt.Errorf("host program: %w", err)
	}
	s.mu.Lock()
	s.hosts[path] = hostDigest{seen: seen, digest: digest}
	s.mu.Unlock()
	return digest, nil
}
