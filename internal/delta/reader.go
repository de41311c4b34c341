package delta

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/klauspost/compress/zstd"
)

// ErrCorrupt means that what was read is no difference to this base, or that the base
// could not be read.
var ErrCorrupt = errors.New("not a difference to this base")

// Reader decodes a difference. One goroutine uses it; it must be closed. It takes
// about 10 MiB of memory beside the base.
type Reader struct {
	zstd   *zstd.Decoder
	source *source
}

// NewReader decodes what r has. size is the artifact's in bytes. base may be the mapped
// file of the base, and must stay until Close.
func NewReader(r io.Reader, size int64, base []byte) (*Reader, error) {
	options := []zstd.DOption{
		zstd.WithDecoderConcurrency(1), // all in the goroutine that reads
		zstd.WithDecoderMaxMemory(Segment),
		zstd.IgnoreChecksum(true),
	}
	for n := int64(0); n*Segment < size; n++ {
		from, to := span(n, int64(len(base)))
		if from < to {
			options = append(options, zstd.WithDecoderDictRaw(dictionary(n), base[from:to]))
		}
	}
	s := &source{Reader: r}
	z, err := zstd.NewReader(s, options...)
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &Reader{z, s}, nil
}

// Read returns decoded bytes. Errors of what it reads from are passed on; all others
// are ErrCorrupt, also when a file that is mapped cannot be read.
func (r *Reader) Read(p []byte) (n int, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		problem := recover()
		if fault, ok := problem.(interface{ Addr() uintptr }); ok {
			n, err = 0, fmt.Errorf("%w: %v", ErrCorrupt, fault)
		} else if problem != nil {
			panic(problem)
		}
	}()
	n, err = r.zstd.Read(p)
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return n, err
	case r.source.failed != nil:
		return n, r.source.failed
	}
	return n, fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// Close lets go of the base and of all memory.
func (r *Reader) Close() { r.zstd.Close() }

// source keeps what went wrong with what is read from.
type source struct {
	io.Reader
	failed error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed = err
	}
	return n, err
}
