package store

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/internal/delta"
)

// maxBase is the size in bytes of the largest base: all of it is hashed for each
// upload that names it.
const maxBase = 256 << 20

// Base is a stored artifact that an upload is a difference to; one without bytes is
// none. It stays readable if the artifact is deleted meanwhile. One goroutine uses it;
// it must be closed.
type Base struct {
	// Bytes are the file's, mapped and not in the agent's own memory. Should the disk
	// fail, reading them is a fault; package delta makes an error of that.
	Bytes []byte
}

// OpenBase opens a stored artifact for a client that has shown to have its bytes, too;
// see delta.Proof. It fails with ErrBase.
func (s *Store) OpenBase(digest string, proof []byte) (*Base, error) {
	b, err := s.openBase(digest, proof)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBase, err)
	}
	return b, nil
}

func (s *Store) openBase(digest string, proof []byte) (*Base, error) {
	f, err := s.OpenArtifact(digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("artifact %s: %w", digest, err)
	}
	if info.Size() > maxBase {
		return nil, fmt.Errorf("artifact %s: %d bytes, at most %d are read for a difference", digest, info.Size(), maxBase)
	}
	if err := proves(f, digest, proof); err != nil {
		return nil, fmt.Errorf("artifact %s: %w", digest, err)
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("artifact %s: %w", digest, os.NewSyscallError("mmap", err))
	}
	return &Base{mapped}, nil
}

func proves(f *os.File, digest string, proof []byte) error {
	want, err := delta.Proof(digest, f)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(want, proof) != 1 {
		return errors.New("the client has not shown that it has the same bytes")
	}
	return nil
}

// Close lets go of the bytes.
func (b *Base) Close() error {
	if b.Bytes == nil {
		return nil
	}
	return os.NewSyscallError("munmap", unix.Munmap(b.Bytes))
}
