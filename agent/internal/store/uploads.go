package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	uploadFile   = ".upload"
	uploadMaxAge = 7 * 24 * time.Hour
)

// uploadInfo is what .upload holds beside the bytes.
type uploadInfo struct {
	Name   string            `json:"name"`
	Size   int64             `json:"size"`
	Labels map[string]string `json:"labels,omitempty"`
	Data   bool              `json:"data,omitempty"`
	Tree   bool              `json:"tree,omitempty"`
}

// UploadState says how far an upload has come.
type UploadState struct {
	// Committed is how many bytes the store has, Size how many there will be.
	Committed, Size int64
	// Complete means that the artifact is stored.
	Complete bool
}

// fileName turns what a client calls a file into a name that is harmless here
// and in a process list.
func fileName(name string) string {
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune("._+-", r) || (r < 0x80 && (r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z')) {
			return r
		}
		return '_'
	}, filepath.Base(name))
	name = strings.TrimLeft(name, ".")
	if name == "" {
		return "artifact"
	}
	return name[:min(len(name), 64)]
}

// UploadStatus says how far the upload of an artifact has come; ErrNotFound
// when there is none.
func (s *Store) UploadStatus(digest string) (UploadState, error) {
	if st, err := s.storedState(digest); err == nil {
		return st, nil
	}
	st, err := s.partialState(digest)
	if errors.Is(err, ErrNotFound) {
		// It may have become whole between the two looks.
		if whole, err := s.storedState(digest); err == nil {
			return whole, nil
		}
	}
	return st, err
}

func (s *Store) storedState(digest string) (UploadState, error) {
	if _, err := s.Verify(digest); err != nil {
		return UploadState{}, err
	}
	a, err := s.GetArtifact(digest)
	return UploadState{Committed: a.Size, Size: a.Size, Complete: true}, err
}

func (s *Store) partialState(digest string) (UploadState, error) {
	h, err := parseDigest(digest)
	if err != nil {
		return UploadState{}, err
	}
	dir := s.path("uploads", h)
	info, err := readUploadInfo(dir)
	if err != nil {
		return UploadState{}, fmt.Errorf("upload of %s: %w", digest, ErrNotFound)
	}
	file, err := os.Lstat(filepath.Join(dir, info.Name))
	if err != nil {
		return UploadState{}, fmt.Errorf("upload of %s: %w", digest, ErrNotFound)
	}
	return UploadState{Size: info.Size, Committed: file.Size()}, nil
}

func readUploadInfo(dir string) (uploadInfo, error) {
	data, err := readEncoded(filepath.Join(dir, uploadFile), kindUpload)
	if err != nil {
		return uploadInfo{}, err
	}
	var info uploadInfo
	if err := json.Unmarshal(data, &info); err != nil || info.Name != fileName(info.Name) {
		return uploadInfo{}, fmt.Errorf("%s: %w", dir, errCorrupt)
	}
	return info, nil
}

// collectUploads removes uploads that nobody continued. What cannot be removed
// is tried again the next time.
func (s *Store) collectUploads() {
	entries, _ := os.ReadDir(s.path("uploads"))
	for _, e := range entries {
		if s.uploadAge(e.Name()) < uploadMaxAge || s.claim(digestPrefix+e.Name()) != nil {
			continue
		}
		_ = os.RemoveAll(s.path("uploads", e.Name()))
		s.unclaim(digestPrefix + e.Name())
	}
}

// uploadAge is how long ago the last byte of an upload came.
func (s *Store) uploadAge(hex string) time.Duration {
	last := time.Time{}
	files, _ := filepath.Glob(s.path("uploads", hex, "*"))
	for _, p := range append(files, s.path("uploads", hex)) {
		if info, err := os.Lstat(p); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return time.Since(last)
}

// claim makes the caller the only one to change an artifact.
func (s *Store) claim(digest string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.uploads[digest] {
		return fmt.Errorf("artifact %s: %w", digest, ErrBusy)
	}
	s.uploads[digest] = true
	return nil
}

func (s *Store) unclaim(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.uploads, digest)
}
