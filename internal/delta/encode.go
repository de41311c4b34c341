package delta

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// ErrNoGain means that the artifact would hardly become smaller.
var ErrNoGain = errors.New("the difference is hardly smaller than the artifact")

// worth is the share of the artifact, in percent, that a difference may have.
const worth = 80

// window reaches from the end of a segment to the begin of its dictionary.
const window = 32 << 20

// File is one side of a difference.
type File struct {
	io.ReaderAt
	Size int64 // in bytes
}

// Encode writes the difference between an artifact and a base; without bytes in the
// base it is merely compressed. It returns where in the output each segment's frame
// begins, and its end. It fails with ErrNoGain as soon as too little is saved. It takes
// about 220 MiB of memory, however large the two are, and a second for 6 MB; merely to
// compress takes 40 MiB.
func Encode(ctx context.Context, out io.Writer, artifact, base File) (frames []int64, err error) {
	e := encoder{base: base, segment: make([]byte, min(Segment, artifact.Size)), dictionary: make([]byte, min(Segment+2*margin, base.Size))}
	frames = []int64{0}
	written := int64(0)
	for n, at := int64(0), int64(0); at < artifact.Size; n, at = n+1, at+Segment {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		plain := e.segment[:min(Segment, artifact.Size-at)]
		if err := readAt(artifact, plain, at); err != nil {
			return nil, fmt.Errorf("artifact: %w", err)
		}
		frame, err := e.encode(n, plain)
		if err != nil {
			return nil, err
		}
		if _, err := out.Write(frame); err != nil {
			return nil, err
		}
		written += int64(len(frame))
		frames = append(frames, written)
		if written > (at+int64(len(plain)))*worth/100 {
			return nil, ErrNoGain
		}
	}
	return frames, nil
}

// encoder makes one frame after the other in the same memory.
type encoder struct {
	zstd                       *zstd.Encoder
	base                       File
	segment, dictionary, frame []byte
}

func (e *encoder) encode(n int64, plain []byte) ([]byte, error) {
	from, to := span(n, e.base.Size)
	dict := e.dictionary[:to-from]
	if err := readAt(e.base, dict, from); err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	if err := e.prepare(n, dict); err != nil {
		return nil, err
	}
	e.frame = e.zstd.EncodeAll(plain, e.frame[:0])
	return e.frame, nil
}

// prepare gives the encoder a dictionary. Only its best level looks for matches that
// lie so far behind.
func (e *encoder) prepare(n int64, dict []byte) (err error) {
	use := zstd.WithEncoderDictDelete()
	if len(dict) > 0 {
		use = zstd.WithEncoderDictRaw(dictionary(n), dict)
	}
	if e.zstd != nil {
		return e.zstd.ResetWithOptions(nil, use)
	}
	options := []zstd.EOption{use, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true)}
	if len(dict) > 0 {
		options = append(options, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(window))
	}
	e.zstd, err = zstd.NewWriter(nil, options...)
	return err
}

// readAt fills p; less than that is an error.
func readAt(r io.ReaderAt, p []byte, at int64) error {
	if len(p) == 0 {
		return nil
	}
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
