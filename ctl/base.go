package ctl

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/kept"
	"github.com/gracefleet/gracefleet/internal/delta"
)

// minKept is the size in bytes of the smallest artifact of which a copy is kept.
const minKept = 1 << 20

func (s *session) deltaFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.deltaFrom, "delta-from", "", "file of an artifact that the host holds: send the difference to it")
}

// kept is where copies of artifacts are that were pushed.
func (s *session) kept() kept.Dir {
	dir, ok := s.userDir("XDG_CACHE_HOME", ".cache")
	if !ok {
		return ""
	}
	return kept.Dir(filepath.Join(dir, "artifacts"))
}

// keep copies what an agent on the network has now. Without a copy the next release
// takes longer, no more.
func (s *session) keep(c *client, u *upload) {
	n := u.header.SizeBytes
	if n < minKept || n > kept.MaxBytes || u.header.GetData() || c.local {
		return
	}
	u.copied.Do(func() {
		_ = s.kept().Keep(io.NewSectionReader(u.file, 0, n), u.header.Digest, u.header.FileName)
	})
}

// localBase is a file that --delta-from names.
func localBase(path string) (kept.File, error) {
	u, err := openUpload(path)
	if err != nil {
		return kept.File{}, fmt.Errorf("--delta-from: %w", err)
	}
	defer u.close()
	return kept.File{Path: path, Digest: u.header.Digest}, nil
}

// openBase opens a copy whose bytes are those of its digest, and proves to have them.
func openBase(b *kept.File) (f *os.File, proof []byte, err error) {
	if f, err = os.Open(b.Path); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	digest, _, err := hash(f)
	if err != nil {
		return nil, nil, err
	}
	if digest != b.Digest {
		return nil, nil, fmt.Errorf("%s holds %s", b.Path, digest)
	}
	if _, err = f.Seek(0, io.SeekStart); err != nil {
		return nil, nil, err
	}
	proof, err = delta.Proof(digest, f)
	return f, proof, err
}

func sized(f *os.File) (delta.File, error) {
	info, err := f.Stat()
	if err != nil {
		return delta.File{}, err
	}
	return delta.File{ReaderAt: f, Size: info.Size()}, nil
}
