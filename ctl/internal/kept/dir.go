package kept

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Bounds of what is kept. An agent takes no larger file as the base of a difference
// than MaxBytes, and no more digests in one question than MaxFiles.
const (
	MaxFiles = 32
	MaxBytes = 256 << 20
	maxTotal = 1 << 30
	// staleAfter is when a copy that was never finished is somebody's who was killed.
	staleAfter = time.Hour
)

// File is a copy of an artifact, if its bytes are those of its digest.
type File struct {
	Path, Digest string
	name         string
	size         int64
	pushed       time.Time
}

// Dir is a directory of copies; the empty one keeps nothing. Several programs may use
// one at the same time.
type Dir string

const prefix = "sha256:"

// Keep copies an artifact, or remembers that it was pushed again, and removes
// the oldest copies that are too many.
func (d Dir) Keep(artifact io.Reader, digest, name string) error {
	if d == "" {
		return nil
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	defer d.trim()
	path := filepath.Join(string(d), strings.TrimPrefix(digest, prefix)+"-"+plain(name))
	now := time.Now()
	if os.Chtimes(path, now, now) == nil {
		return nil
	}
	f, err := os.CreateTemp(string(d), ".*.part")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, artifact)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Files are the copies: first those whose name begins most like an artifact's, as web-v1
// and web-v2 do, of these the latest.
func (d Dir) Files(name string) []File {
	files := d.list()
	name = plain(name)
	slices.SortStableFunc(files, func(a, b File) int {
		return cmp.Or(cmp.Compare(alike(b.name, name), alike(a.name, name)), b.pushed.Compare(a.pushed))
	})
	return files[:min(len(files), MaxFiles)]
}

// alike is how many bytes two names have in common at their begin.
func alike(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// plain is a name that is fit for a file, and on one line.
func plain(name string) string {
	name = strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f && r != '/' {
			return r
		}
		return '_'
	}, name)
	return name[:min(len(name), 64)]
}

// list are the copies, the latest first. What else lies there is left alone.
func (d Dir) list() []File {
	if d == "" {
		return nil
	}
	entries, _ := os.ReadDir(string(d))
	var files []File
	for _, e := range entries {
		hex, name, ok := strings.Cut(e.Name(), "-")
		info, err := e.Info()
		if !ok || len(hex) != 64 || err != nil || !info.Mode().IsRegular() {
			continue
		}
		files = append(files, File{filepath.Join(string(d), e.Name()), prefix + hex, name, info.Size(), info.ModTime()})
	}
	slices.SortStableFunc(files, func(a, b File) int { return b.pushed.Compare(a.pushed) })
	return files
}

// trim removes what is too much. What cannot be removed now is so the next time.
func (d Dir) trim() {
	total := int64(0)
	for n, f := range d.list() {
		if total += f.size; n >= MaxFiles || total > maxTotal {
			_ = os.Remove(f.Path)
		}
	}
	parts, _ := filepath.Glob(filepath.Join(string(d), ".*.part"))
	for _, p := range parts {
		if info, err := os.Lstat(p); err == nil && time.Since(info.ModTime()) > staleAfter {
			_ = os.Remove(p)
		}
	}
}
