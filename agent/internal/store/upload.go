package store

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// flushEvery is how many bytes are written before the kernel is asked to start
// writing them back, so that the final fsync finds little to do.
const flushEvery = 4 << 20

// Upload receives one artifact, in order. One goroutine uses it. It must end
// with Commit, Close (what was received stays for a later upload to go on
// from) or Abort.
type Upload struct {
	store   *Store
	digest  string
	dir     string
	info    uploadInfo
	file    *os.File // nil once ended, or when the artifact was stored already
	sum     hash.Hash
	written int64
	flushed int64
	room    int64  // that is left beside it
	stamp   string // of the tree that was unpacked
	tree    int64  // bytes of it
	ended   bool
}

// UploadOptions say what is uploaded.
type UploadOptions struct {
	Name   string
	Labels map[string]string
	// Data is not an executable, so nobody looks whether it could run.
	Data bool
	// Tree is an archive of a program that is a tree.
	Tree bool
	// InUse says of a stored artifact that it may not be removed to make room; nil of
	// all.
	InUse func(digest string) bool
}

// BeginUpload starts the upload of an artifact of size bytes, or goes on with
// an earlier one; committed is the offset to go on from. For a stored artifact
// committed is size, and Commit returns that artifact. It fails with ErrBusy,
// ErrEmpty, ErrTooLarge, ErrBadDigest, ErrQuota or ErrDiskFull.
func (s *Store) BeginUpload(digest string, size int64, o UploadOptions) (u *Upload, committed int64, err error) {
	h, err := parseDigest(digest)
	if err != nil {
		return nil, 0, err
	}
	switch {
	case size <= 0:
		return nil, 0, fmt.Errorf("upload of %s: %w", o.Name, ErrEmpty)
	case size > s.options.UploadLimit:
		return nil, 0, fmt.Errorf("upload of %s: %w: %d bytes, the limit is %d", o.Name, ErrTooLarge, size, s.options.UploadLimit)
	}
	if err := s.claim(digest); err != nil {
		return nil, 0, err
	}
	u = &Upload{
		store: s, digest: digest, dir: s.path("uploads", h), sum: sha256.New(),
		info: uploadInfo{Name: fileName(o.Name), Size: size, Labels: o.Labels, Data: o.Data, Tree: o.Tree},
	}
	if _, err := s.Verify(digest); err == nil {
		u.written = size
		return u, size, nil
	}
	if err := u.claimRoom(o.InUse); err != nil {
		s.unclaim(digest) // what an earlier try has brought stays
		return nil, 0, fmt.Errorf("upload of %s: %w", o.Name, diskFull(err))
	}
	if err := u.open(); err != nil {
		_ = u.giveUp()
		return nil, 0, fmt.Errorf("upload of %s: %w", o.Name, diskFull(err))
	}
	return u, u.written, nil
}

// claimRoom makes the upload's directory, or continues that of an earlier try for
// the same name and size, if there is room: from then on it counts.
func (u *Upload) claimRoom(inUse func(string) bool) (err error) {
	u.store.admission.Lock()
	defer u.store.admission.Unlock()
	if u.room, err = u.store.admit(u.digest, u.info.Size, inUse); err != nil {
		return err
	}
	if old, err := readUploadInfo(u.dir); err == nil && old.Size == u.info.Size && old.Name == u.info.Name {
		return nil
	}
	if err := u.create(); err != nil {
		return errors.Join(err, os.RemoveAll(u.dir))
	}
	return nil
}

// open goes on with the bytes that are there.
func (u *Upload) open() error {
	f, err := os.OpenFile(u.data(), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	u.file = f
	if u.written, err = io.CopyBuffer(u.sum, onlyReader{f}, make([]byte, 256<<10)); err != nil {
		return err
	}
	u.flushed = u.written
	if u.written > u.info.Size {
		return u.restart()
	}
	return u.allocate()
}

// onlyReader hides os.File's WriteTo, which would ignore the buffer.
type onlyReader struct{ io.Reader }

func (u *Upload) create() error {
	if err := os.RemoveAll(u.dir); err != nil {
		return err
	}
	if err := os.Mkdir(u.dir, 0o700); err != nil {
		return err
	}
	data, err := json.Marshal(u.info)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(u.dir, uploadFile), "", encode(kindUpload, data))
}

func (u *Upload) restart() error {
	u.written, u.flushed = 0, 0
	u.sum.Reset()
	if err := u.file.Truncate(0); err != nil {
		return err
	}
	_, err := u.file.Seek(0, io.SeekStart)
	return err
}

// allocate claims the space of the whole artifact, so that a full disk shows
// before the first byte travels. Where that is not supported, Write finds out.
func (u *Upload) allocate() error {
	err := unix.Fallocate(int(u.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, u.info.Size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}

func (u *Upload) data() string { return filepath.Join(u.dir, u.info.Name) }

// Write takes the next bytes. On an error those that fit are kept.
func (u *Upload) Write(chunk []byte) (int, error) {
	if u.ended {
		return 0, fs.ErrClosed
	}
	if left := u.info.Size - u.written; int64(len(chunk)) > left {
		return 0, fmt.Errorf("upload of %s: %w: more than the %d bytes announced", u.info.Name, ErrTooLarge, u.info.Size)
	}
	if len(chunk) == 0 {
		return 0, nil
	}
	n, err := u.file.Write(chunk)
	u.sum.Write(chunk[:n])
	u.written += int64(n)
	if err != nil {
		return n, fmt.Errorf("upload of %s: %w", u.info.Name, diskFull(err))
	}
	if u.written-u.flushed >= flushEvery {
		// Only a hint: where it fails, the fsync does all the work.
		_ = unix.SyncFileRange(int(u.file.Fd()), u.flushed, u.written-u.flushed, unix.SYNC_FILE_RANGE_WRITE)
		u.flushed = u.written
	}
	return n, nil
}

// Sync makes what was written durable and returns how much that is.
func (u *Upload) Sync() (committed int64, err error) {
	if u.file == nil {
		return u.written, nil
	}
	if err := u.file.Sync(); err != nil {
		return 0, fmt.Errorf("upload of %s: %w", u.info.Name, diskFull(err))
	}
	return u.written, nil
}

// Commit checks the bytes and stores the artifact, durably; the upload has
// ended, whatever it returns. With ErrIncomplete and ErrDiskFull what was
// received stays. With ErrDigestMismatch and the errors of Inspect it is thrown
// away: it can be of no use on this host.
func (u *Upload) Commit() (Artifact, error) {
	if u.ended {
		return Artifact{}, fs.ErrClosed
	}
	if u.file == nil {
		defer u.Close()
		return u.store.relabel(u.digest, u.info.Labels)
	}
	if u.written < u.info.Size {
		defer u.Close()
		return Artifact{}, fmt.Errorf("upload of %s: %w: %d of %d bytes", u.info.Name, ErrIncomplete, u.written, u.info.Size)
	}
	if err := u.check(); err != nil {
		return Artifact{}, errors.Join(err, u.Abort())
	}
	defer u.Close()
	if err := u.publish(); err != nil {
		return Artifact{}, fmt.Errorf("upload of %s: %w", u.info.Name, diskFull(err))
	}
	return u.store.GetArtifact(u.digest)
}

// maxLabels bounds what many pushes of one artifact make of its labels: a list of
// artifacts tells them all.
const maxLabels = 128

// relabel adds labels to an artifact that is stored already: the same bytes may
// be pushed again under another version.
func (s *Store) relabel(digest string, labels map[string]string) (Artifact, error) {
	defer s.names.lock(digest)()
	a, m, err := s.artifact(digest)
	if err != nil || len(labels) == 0 {
		return a, err
	}
	merged := maps.Clone(m.Labels)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, labels)
	if maps.Equal(merged, m.Labels) {
		return a, nil
	}
	if len(merged) > maxLabels {
		return a, fmt.Errorf("artifact %s: %w: it would have %d labels, of at most %d: push it with those that it has", digest, ErrTooLarge, len(merged), maxLabels)
	}
	m.Labels = merged
	if err := s.writeMetadata(filepath.Dir(a.Path), m); err != nil {
		return a, fmt.Errorf("artifact %s: %w", digest, diskFull(err))
	}
	a.Labels = merged
	return a, nil
}

func (u *Upload) check() error {
	if got := digestOf(u.sum); got != u.digest {
		return fmt.Errorf("upload of %s: %w: want %s, received %s; try again", u.info.Name, ErrDigestMismatch, u.digest, got)
	}
	if u.info.Data {
		return nil
	}
	if u.info.Tree {
		return u.checkTree()
	}
	_, err := inspect(u.info.Name, u.file, u.info.Size)
	return err
}

// checkTree unpacks the archive into what room there is.
func (u *Upload) checkTree() error {
	limit := min(u.room, maxTreeGrowth*u.store.options.UploadLimit)
	_, err := u.file.Seek(0, io.SeekStart)
	if err == nil {
		u.stamp, u.tree, err = u.store.unpack(u.file, u.dir, limit)
	}
	if errors.Is(err, ErrTooLarge) && limit == u.room {
		err = fmt.Errorf("%w: it unpacks to more than the %d bytes that are left", ErrQuota, limit)
	}
	if err != nil {
		return fmt.Errorf("upload of %s: %w", u.info.Name, err)
	}
	return nil
}

// publish turns the upload's directory into the artifact's with one rename.
// The mode is set, not inherited, so no setuid bit gets through.
func (u *Upload) publish() error {
	if err := u.file.Chmod(0o555); err != nil {
		return err
	}
	if err := u.file.Sync(); err != nil {
		return err
	}
	info, err := u.file.Stat()
	if err != nil {
		return err
	}
	m := metadata{
		Name: u.info.Name, Size: u.info.Size, Labels: u.info.Labels, Data: u.info.Data, Tree: u.info.Tree,
		TreeStamp: u.stamp, TreeBytes: u.tree,
		Created: time.Now().UTC(), Verified: u.store.look(info),
	}
	if err := u.store.writeMetadata(u.dir, m); err != nil {
		return err
	}
	if err := os.Chmod(u.dir, 0o711); err != nil {
		return err
	}
	dir := u.store.path("artifacts", filepath.Base(u.dir))
	// What lies there failed Verify, or there would have been no upload.
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Rename(u.dir, dir); err != nil {
		return err
	}
	_ = os.Remove(filepath.Join(dir, uploadFile))
	return syncDir(u.store.path("artifacts"))
}

// Close ends the upload; what was received stays on the disk. Closing twice is
// no error.
func (u *Upload) Close() error {
	if u.ended {
		return nil
	}
	u.ended = true
	defer u.store.unclaim(u.digest)
	if u.file == nil {
		return nil
	}
	if u.written < u.info.Size {
		_ = u.file.Truncate(u.written) // gives back the space allocated beyond
	}
	return errors.Join(u.file.Sync(), u.file.Close())
}

// giveUp ends an upload that could not begin.
func (u *Upload) giveUp() error {
	if u.written > 0 {
		return u.Close()
	}
	return u.Abort()
}

// Abort ends the upload and throws away what was received.
func (u *Upload) Abort() error {
	if u.ended {
		return nil
	}
	u.ended = true
	defer u.store.unclaim(u.digest)
	if u.file != nil {
		_ = u.file.Close()
	}
	return os.RemoveAll(u.dir)
}
