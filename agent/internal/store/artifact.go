package store

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// Artifact is an immutable executable in the store.
type Artifact struct {
	// Digest is "sha256:" and 64 lower-case hex digits.
	Digest string
	// Name is the file's name; Path where it lies.
	Name, Path string
	// Size in bytes.
	Size   int64
	Labels map[string]string
	// Data is not an executable.
	Data bool
	// Tree is an archive; see Store.Tree.
	Tree bool
	// TreeBytes is what it unpacked to.
	TreeBytes int64
	// Created is when it was stored.
	Created time.Time
}

const (
	digestPrefix  = "sha256:"
	metadataFile  = ".artifact"
	goneArtifacts = ".gone-"
)

// metadata is what .artifact holds.
type metadata struct {
	Name   string            `json:"name"`
	Size   int64             `json:"size"`
	Labels map[string]string `json:"labels,omitempty"`
	Data   bool              `json:"data,omitempty"`
	Tree   bool              `json:"tree,omitempty"`
	// TreeStamp is how the unpacked archive looked; see treeStamp.
	TreeStamp string    `json:"tree_stamp,omitempty"`
	TreeBytes int64     `json:"tree_bytes,omitempty"`
	Created   time.Time `json:"created"`
	Verified  verified  `json:"verified"`
}

// parseDigest returns the hex part, which is fit for a file name.
func parseDigest(digest string) (string, error) {
	h, ok := strings.CutPrefix(digest, digestPrefix)
	if raw, err := hex.DecodeString(h); !ok || err != nil || len(raw) != 32 || strings.ToLower(h) != h {
		return "", fmt.Errorf("%q: %w: want sha256: and 64 digits of 0-9, a-f", clip([]byte(digest), 80), ErrBadDigest)
	}
	return h, nil
}

// GetArtifact describes a stored artifact, or fails with ErrNotFound.
func (s *Store) GetArtifact(digest string) (Artifact, error) {
	a, _, err := s.artifact(digest)
	return a, err
}

func (s *Store) artifact(digest string) (Artifact, metadata, error) {
	h, err := parseDigest(digest)
	if err != nil {
		return Artifact{}, metadata{}, err
	}
	dir := s.path("artifacts", h)
	var m metadata
	info, err := os.Lstat(dir)
	if err == nil && !info.IsDir() {
		// What lies elsewhere could be changed between the look at it and its start.
		return Artifact{}, metadata{}, fmt.Errorf("artifact %s: %w: %s is %s: remove it and push the artifact again", digest, ErrNotFound, dir, kindOfFile(info.Mode()))
	}
	if err == nil {
		m, err = readMetadata(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return Artifact{}, metadata{}, fmt.Errorf("artifact %s: %w: push it", digest, ErrNotFound)
	}
	if err != nil {
		return Artifact{}, metadata{}, fmt.Errorf("artifact %s: %w", digest, err)
	}
	return Artifact{
		Digest: digest, Name: m.Name, Path: filepath.Join(dir, m.Name),
		Size: m.Size, Labels: m.Labels, Created: m.Created, Data: m.Data, Tree: m.Tree, TreeBytes: m.TreeBytes,
	}, m, nil
}

// readMetadata reads .artifact, or derives what it can when that is corrupt:
// the directory's name is the digest, so nothing but labels is lost, and the
// missing verified part makes the next Verify read every byte.
func readMetadata(dir string) (metadata, error) {
	data, err := readEncoded(filepath.Join(dir, metadataFile), kindArtifact)
	var m metadata
	if err == nil && json.Unmarshal(data, &m) == nil {
		return m, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return metadata{}, err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			return metadata{Name: e.Name(), Size: info.Size(), Created: info.ModTime()}, nil
		}
	}
	return metadata{}, fs.ErrNotExist
}

func (s *Store) writeMetadata(dir string, m metadata) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return s.replace(filepath.Join(dir, metadataFile), "", encode(kindArtifact, data))
}

// ListArtifacts returns all artifacts, the oldest first.
func (s *Store) ListArtifacts() ([]Artifact, error) {
	entries, err := os.ReadDir(s.path("artifacts"))
	if err != nil {
		return nil, fmt.Errorf("artifacts: %w", err)
	}
	var list []Artifact
	for _, e := range entries {
		if a, err := s.GetArtifact(digestPrefix + e.Name()); err == nil {
			list = append(list, a)
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].Created.Before(list[j].Created) })
	return list, nil
}

// DeleteArtifact removes an artifact, or fails with ErrInUse when inUse says
// so, ErrBusy during an upload of it, or ErrNotFound.
func (s *Store) DeleteArtifact(digest string, inUse func(digest string) bool) error {
	a, err := s.GetArtifact(digest)
	if err != nil {
		return err
	}
	if err := s.claim(digest); err != nil {
		return err
	}
	defer s.unclaim(digest)
	if inUse != nil && inUse(digest) {
		return fmt.Errorf("artifact %s (%s): %w by a generation that is kept", digest, a.Name, ErrInUse)
	}
	// Renamed first: a kill in between leaves no half of an artifact.
	dir := filepath.Dir(a.Path)
	gone := s.path("artifacts", goneArtifacts+filepath.Base(dir))
	if err := os.Rename(dir, gone); err != nil {
		return fmt.Errorf("artifact %s: %w", digest, err)
	}
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("artifact %s: %w", digest, err)
	}
	return syncDir(s.path("artifacts"))
}

// CollectArtifacts removes artifacts that are not in keep and were stored
// longer than minAge ago, and uploads that nobody continued for 7 days. It
// returns the digests removed, also beside an error.
func (s *Store) CollectArtifacts(keep map[string]bool, minAge time.Duration) ([]string, error) {
	s.collectUploads()
	list, err := s.ListArtifacts()
	if err != nil {
		return nil, err
	}
	var removed []string
	var errs []error
	for _, a := range list {
		if keep[a.Digest] || time.Since(a.Created) < minAge {
			continue
		}
		err := s.DeleteArtifact(a.Digest, nil)
		switch {
		case err == nil:
			removed = append(removed, a.Digest)
		case !errors.Is(err, ErrBusy): // somebody pushes it again right now
			errs = append(errs, err)
		}
	}
	return removed, errors.Join(errs...)
}
