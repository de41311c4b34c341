package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// WriteRollout keeps the bytes of a rollout, durably, under their digest. Those that
// are there already, whole, are left as they are.
func (s *Store) WriteRollout(data []byte) (digest string, err error) {
	h := fmt.Sprintf("%x", sha256.Sum256(data))
	defer s.names.lock("rollout " + h)()
	if _, err := s.ReadRollout(digestPrefix + h); err == nil {
		return digestPrefix + h, nil
	}
	if err := s.replace(s.path("rollouts", h), "", data); err != nil {
		return "", fmt.Errorf("rollout of %d bytes: %w", len(data), err)
	}
	return digestPrefix + h, nil
}

// ReadRollout returns the bytes of a rollout; ErrNotFound when there are none, or others
// than were written.
func (s *Store) ReadRollout(digest string) ([]byte, error) {
	h, err := parseDigest(digest)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(s.path("rollouts", h))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("rollout %s: %w", digest, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("rollout %s: %w", digest, err)
	}
	if fmt.Sprintf("%x", sha256.Sum256(data)) != h {
		return nil, fmt.Errorf("rollout %s: %w: its bytes are damaged", digest, ErrNotFound)
	}
	return data, nil
}

// KeepRollouts removes the rollouts whose digests are not used.
func (s *Store) KeepRollouts(used map[string]bool) error {
	entries, err := os.ReadDir(s.path("rollouts"))
	if err != nil {
		return fmt.Errorf("rollouts: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !used[digestPrefix+e.Name()] {
			errs = append(errs, os.RemoveAll(s.path("rollouts", e.Name())))
		}
	}
	return errors.Join(errs...)
}

// WriteFreeze keeps what is said of a stop of all upgrades, durably; nothing ends it.
func (s *Store) WriteFreeze(data []byte) error {
	path := s.path("freeze")
	if len(data) > 0 {
		if err := s.replace(path, "", data); err != nil {
			return fmt.Errorf("the freeze is not saved: %w", err)
		}
		return nil
	}
	err := os.Remove(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the freeze is not ended: %w", err)
	}
	return syncDir(s.dir)
}

// ReadFreeze returns what WriteFreeze kept; nothing without one.
func (s *Store) ReadFreeze() ([]byte, error) {
	data, err := os.ReadFile(s.path("freeze"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}
