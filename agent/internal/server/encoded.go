package server

import (
	"errors"
	"io"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/store"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/delta"
)

// maxBases is how many digests a client may ask about at once.
const maxBases = 32

// encoded says whether chunks are not the artifact's own bytes.
func encoded(h *pb.UploadHeader) bool { return h.GetDeltaBase() != "" || h.GetCompressed() }

// encoding checks what a header says of its chunks.
func (c *checker) encoding(h *pb.UploadHeader) {
	if base := h.GetDeltaBase(); base != "" {
		c.failed("header.delta_base", service.CheckDigest(base))
		c.that(len(h.GetDeltaBaseProof()) == delta.ProofSize, "header.delta_base_proof", "goes with delta_base, and has 32 bytes")
		c.that(!h.GetCompressed(), "header.compressed", "it is either compressed or a delta")
	}
	c.that(!encoded(h) || h.GetOffset()%delta.Segment == 0, "header.offset", "is not that of a segment")
}

// bases are those of the artifacts that are stored here.
func (a *artifactService) bases(digests []string) (stored []string) {
	for _, d := range digests {
		if _, err := a.store.GetArtifact(d); err == nil {
			stored = append(stored, d)
		}
	}
	return stored
}

// receiveEncoded is receive for chunks that are encoded, which begin at a segment:
// what is held of that is decoded again. What decodes wrongly is thrown away with all
// that came before.
func (a *artifactService) receiveEncoded(stream uploadStream, upload *store.Upload, h *pb.UploadHeader, committed int64) (int64, error) {
	if h.GetOffset() > committed {
		return committed, wrongOffset(h, committed)
	}
	base, err := a.base(h)
	if err != nil {
		return committed, err
	}
	defer base.Close()
	r, err := delta.NewReader(&chunks{stream: stream, left: h.GetSizeBytes() - h.GetOffset()}, h.GetSizeBytes(), base.Bytes)
	if err != nil {
		return committed, err
	}
	defer r.Close()
	written, err := decode(r, upload, committed-h.GetOffset())
	if errors.Is(err, delta.ErrCorrupt) || errors.Is(err, store.ErrTooLarge) {
		return 0, errors.Join(err, upload.Abort())
	}
	return committed + written, err
}

// base is what the chunks are a delta against; without bytes if they are merely
// compressed.
func (a *artifactService) base(h *pb.UploadHeader) (*store.Base, error) {
	if h.GetCompressed() {
		return &store.Base{}, nil
	}
	return a.store.OpenBase(h.GetDeltaBase(), h.GetDeltaBaseProof())
}

// decode writes what r has after the first bytes.
func decode(r io.Reader, upload *store.Upload, skip int64) (written int64, err error) {
	if _, err := io.CopyN(io.Discard, r, skip); err != nil {
		return 0, endOf(err)
	}
	for buffer := make([]byte, 128<<10); ; {
		n, err := r.Read(buffer)
		kept, failed := upload.Write(buffer[:n])
		written += int64(kept)
		if failed != nil {
			return written, failed
		}
		if err != nil {
			return written, endOf(err)
		}
	}
}

// endOf is no error where a client has sent what it wanted to.
func endOf(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// chunks are what a client sends, as one stream. There may be no more of it than
// the artifact has: whatever makes it larger is not worth reading.
type chunks struct {
	stream uploadStream
	left   int64
	rest   []byte
}

func (c *chunks) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		chunk, err := receiveChunk(c.stream)
		if err != nil {
			return 0, err
		}
		if c.left -= int64(len(chunk)); c.left < 0 {
			return 0, invalid("chunk", "the encoded bytes are more than the artifact has")
		}
		c.rest = chunk
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}
