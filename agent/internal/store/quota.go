package store

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxArtifacts bounds what is stored and what is uploaded, in number.
	maxArtifacts = 10_000
	// spareFor leaves time between a push and the upgrade that uses it, also when
	// room is needed.
	spareFor = time.Hour
	// maxKeepFree and keepFreeShare are what is kept free by default.
	maxKeepFree   = 1 << 30
	keepFreeShare = 20
	// maxNamed is how many artifacts an error names that could be deleted.
	maxNamed = 3
)

// holding is one thing that takes room: an artifact or an upload.
type holding struct {
	name, digest string
	bytes        int64 // that it takes, or has announced
	missing      int64 // of these, not taken yet
	upload, open bool
	since        time.Time
}

// holdings are all but those of one artifact, the oldest first.
func (s *Store) holdings(but string) ([]holding, error) {
	artifacts, err := s.ListArtifacts()
	if err != nil {
		return nil, err
	}
	var all []holding
	for _, a := range artifacts {
		if a.Digest != but {
			all = append(all, holding{name: a.Name, digest: a.Digest, bytes: a.Size + a.TreeBytes, since: a.Created})
		}
	}
	entries, err := os.ReadDir(s.path("uploads"))
	if err != nil {
		return nil, fmt.Errorf("uploads: %w", err)
	}
	for _, e := range entries {
		if digest := digestPrefix + e.Name(); digest != but {
			all = append(all, s.uploadHolding(digest, e.Name()))
		}
	}
	slices.SortStableFunc(all, func(a, b holding) int { return a.since.Compare(b.since) })
	return all, nil
}

// uploadHolding is what an upload takes: all that it announced while it is under
// way, later what came of it.
func (s *Store) uploadHolding(digest, hex string) holding {
	h := holding{name: "an upload that has not ended", digest: digest, upload: true, since: time.Now().Add(-s.uploadAge(hex))}
	dir := s.path("uploads", hex)
	info, err := readUploadInfo(dir)
	if err != nil {
		return h
	}
	if file, err := os.Lstat(dir + "/" + info.Name); err == nil {
		h.bytes = file.Sys().(*syscall.Stat_t).Blocks * 512
	}
	s.mu.Lock()
	h.open = s.uploads[digest]
	s.mu.Unlock()
	if h.open && h.bytes < info.Size {
		h.missing = info.Size - h.bytes
		h.bytes = info.Size
	}
	return h
}

// shortage is what is missing for one more upload; none of it may be positive.
type shortage struct{ quota, free, number int64 }

func (x shortage) any() bool { return x.quota > 0 || x.free > 0 || x.number > 0 }

// admit finds room for an upload, by removing what nobody uses if it must, and
// says how much is left beside it. It fails with ErrQuota or ErrDiskFull, and has
// then changed nothing. admission is held.
func (s *Store) admit(digest string, size int64, inUse func(string) bool) (left int64, err error) {
	all, err := s.holdings(digest)
	if err != nil {
		return 0, err
	}
	free, keep, err := s.space()
	if err != nil {
		return 0, err
	}
	var used, missing int64
	for _, h := range all {
		used += h.bytes
		missing += h.missing
	}
	own := s.uploadHolding(digest, strings.TrimPrefix(digest, digestPrefix))
	short := shortage{
		quota:  used + size - s.options.Quota,
		free:   size - (own.bytes - own.missing) + missing + keep - free,
		number: int64(len(all)) + 1 - maxArtifacts,
	}
	if s.options.Quota < 0 {
		short.quota = -maxTreeGrowth * s.options.UploadLimit
	}
	if short.any() {
		unused := slices.DeleteFunc(all, func(h holding) bool { return h.open || !h.upload && (inUse == nil || inUse(h.digest)) })
		n := enough(unused, short, time.Now())
		if n == 0 {
			return 0, s.refusal(short, size, used, free, keep, unused)
		}
		for _, h := range unused[:n] {
			if err := s.remove(h, inUse); err != nil {
				return 0, fmt.Errorf("make room: %w", err)
			}
			short.quota -= h.bytes
			short.free -= h.bytes
		}
	}
	return min(-short.quota, -short.free), nil
}

// space is what the file system has free, and what is to be left of it.
func (s *Store) space() (free, keep int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return 0, 0, os.NewSyscallError("statfs", err)
	}
	keep = s.options.KeepFree
	if keep == 0 {
		keep = min(maxKeepFree, int64(st.Blocks)*st.Bsize/keepFreeShare)
	}
	return int64(st.Bavail) * st.Bsize, max(keep, 0), nil
}

// enough is how many of what is unused, the oldest first, must go so that nothing is
// short; none if all that is old enough would not do.
func enough(unused []holding, short shortage, now time.Time) int {
	for i, h := range unused {
		if now.Sub(h.since) < spareFor {
			return 0
		}
		short.quota -= h.bytes
		short.free -= h.bytes
		short.number--
		if !short.any() {
			return i + 1
		}
	}
	return 0
}

func (s *Store) remove(h holding, inUse func(string) bool) error {
	if !h.upload {
		return s.DeleteArtifact(h.digest, inUse)
	}
	if err := s.claim(h.digest); err != nil {
		return err
	}
	defer s.unclaim(h.digest)
	return os.RemoveAll(s.path("uploads", strings.TrimPrefix(h.digest, digestPrefix)))
}

// refusal says what is full, and what could be deleted.
func (s *Store) refusal(short shortage, size, used, free, keep int64, unused []holding) error {
	advice := "what is stored is in use: remove generations that are kept, or give it more room"
	if len(unused) > 0 {
		slices.SortStableFunc(unused, func(a, b holding) int { return cmp.Compare(b.bytes, a.bytes) })
		var names []string
		for _, h := range unused[:min(len(unused), maxNamed)] {
			names = append(names, fmt.Sprintf("%s (%s, %d bytes)", h.digest[:len(digestPrefix)+12], h.name, h.bytes))
		}
		advice = fmt.Sprintf("unused, but younger than %v or too little: %s; \"gracectl artifact delete\" removes one", spareFor, strings.Join(names, ", "))
	}
	switch {
	case short.free > 0:
		return fmt.Errorf("%w: %d bytes would leave less than %d bytes free on %s, which has %d (limits.reserve of graced.yaml); %s", ErrDiskFull, size, keep, s.dir, free, advice)
	case short.quota > 0:
		return fmt.Errorf("%w: %d bytes beside %d that are stored or on their way are more than %d (limits.artifacts of graced.yaml); %s", ErrQuota, size, used, s.options.Quota, advice)
	}
	return fmt.Errorf("%w: there are %d artifacts; %s", ErrQuota, maxArtifacts, advice)
}
