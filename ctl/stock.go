package ctl

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gracefleet/gracefleet/ctl/internal/kept"
	"github.com/gracefleet/gracefleet/ctl/internal/spec"
)

// stock is the files of this machine that a run sends: each is opened, hashed and
// encoded once, however many hosts get it. Several goroutines may use it.
type stock struct {
	mu      sync.Mutex
	uploads map[item]*upload
	remotes map[string]remoteSource // by digest
	base    *kept.File              // what --delta-from names, once it was hashed
	turns   chan struct{}
}

// uploadsAtOnce bounds how many hosts are sent files at the same time.
const uploadsAtOnce = 8

// item is a file in one of its roles.
type item struct {
	path string
	data bool // it travels with a generation, and is no program
}

// artifact is the program at a path.
func (k *stock) artifact(path string) (*upload, error) {
	return k.open(item{path, false}, filepath.Base(path))
}

// data is the file at a path that travels with a generation.
func (k *stock) data(path string) (*upload, error) {
	return k.open(item{path, true}, filepath.Base(path))
}

func (k *stock) open(i item, name string) (*upload, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if up := k.uploads[i]; up != nil {
		return up, nil
	}
	up, err := openUpload(i.path)
	if err != nil {
		return nil, err
	}
	up.header.FileName = name
	if i.data {
		up.header.Data, up.header.Tree = true, false
	}
	if k.uploads == nil {
		k.uploads = map[item]*upload{}
	}
	k.uploads[i] = up
	return up, nil
}

// digest is the program with a digest among those that were opened, or the file that
// travels with one; nil when there is none.
func (k *stock) digest(digest string, data bool) *upload {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, up := range k.uploads {
		if i.data == data && up.header.GetDigest() == digest {
			return up
		}
	}
	return nil
}

// remote has an artifact ready that hosts fetch by themselves.
func (k *stock) remote(a spec.Artifact) error {
	r, err := remote(a)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.remotes == nil {
		k.remotes = map[string]remoteSource{}
	}
	k.remotes[a.Digest] = r
	return nil
}

// remoteOf is where hosts fetch the artifact with a digest, if somebody said so.
func (k *stock) remoteOf(digest string) (r remoteSource, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok = k.remotes[digest]
	return r, ok
}

// deltaBase is the file that --delta-from names.
func (k *stock) deltaBase(path string) (kept.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.base != nil {
		return *k.base, nil
	}
	base, err := localBase(path)
	if err == nil {
		k.base = &base
	}
	return base, err
}

// recall opens the copy of an artifact that was pushed from here before, if there is
// one and it is what it was; else the error is fs.ErrNotExist.
func (k *stock) recall(copies kept.Dir, digest string) (*upload, error) {
	for _, f := range copies.Files("") {
		if f.Digest != digest {
			continue
		}
		// A copy is called by its digest, a dash and its name.
		_, name, _ := strings.Cut(filepath.Base(f.Path), "-")
		up, err := k.open(item{f.Path, false}, name)
		if err == nil && up.header.GetDigest() == digest {
			return up, nil
		}
	}
	return nil, fs.ErrNotExist
}

// turn waits until an upload may begin; done lets the next one.
func (k *stock) turn(ctx context.Context) (done func(), err error) {
	k.mu.Lock()
	if k.turns == nil {
		k.turns = make(chan struct{}, uploadsAtOnce)
	}
	turns := k.turns
	k.mu.Unlock()
	select {
	case turns <- struct{}{}:
		return func() { <-turns }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// close closes them all. Nobody sends any of them any more.
func (k *stock) close() {
	for _, up := range k.uploads {
		up.close()
	}
}
