package ctl

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/kept"
	"github.com/gracefleet/gracefleet/internal/delta"
)

// How many bytes of artifacts are encoded a second, about. Compressing counts as
// slower than it is, for it saves only half of the bytes.
const (
	compressing = 30 << 20
	comparing   = 4 << 20
)

// trialTime is how long an artifact travels as it is before it is decided whether
// to encode the rest.
const trialTime = time.Second

// trial is how fast the bytes of an artifact travel.
type trial struct {
	begin             time.Time
	size, sent, total int64 // of the artifact; of what travels
}

// pace is in bytes a second.
func (t *trial) pace(now time.Time) float64 {
	return float64(t.sent) / now.Sub(t.begin).Seconds()
}

// pays says whether the rest takes longer than it does to encode the artifact at
// encoded bytes a second.
func (t *trial) pays(encoded float64, now time.Time) bool {
	if now.Sub(t.begin) < trialTime {
		return false
	}
	return float64(t.total-t.sent)/t.pace(now) > float64(t.size)/encoded+trialTime.Seconds()
}

// slowError ends an upload that would be over sooner if its bytes were encoded.
type slowError struct {
	compare bool // also if that takes as long as comparing it
}

func (e *slowError) Error() string { return "it would be over sooner in another form" }

// parcel is what travels of an artifact: its file, or what that was encoded to.
type parcel struct {
	file    *os.File
	size    int64
	onTrial bool
	frames  []int64 // where each segment begins in what was encoded
	base    string  // that it is a difference to; else it is merely compressed
	proof   []byte
}

func (u *upload) whole() *parcel { return &parcel{file: u.file, size: u.header.SizeBytes} }

func (p *parcel) encoded() bool { return p.frames != nil }

// how says in what form it travels; empty is as it is.
func (p *parcel) how() string {
	switch {
	case !p.encoded():
		return ""
	case p.base == "":
		return "compressed"
	}
	return "as a difference to " + short(p.base)
}

// from is the header, and what travels, for an agent that holds so many bytes.
func (p *parcel) from(artifact *pb.UploadHeader, committed int64) (*pb.UploadHeader, *io.SectionReader) {
	h := proto.CloneOf(artifact)
	h.Offset = committed
	begin := committed
	if p.encoded() {
		n := committed / delta.Segment
		h.Offset, begin = n*delta.Segment, p.frames[n]
		h.DeltaBase, h.DeltaBaseProof, h.Compressed = p.base, p.proof, p.base == ""
	}
	return h, io.NewSectionReader(p.file, begin, p.size-begin)
}

// notDecoded says whether an agent could make nothing of encoded bytes.
func notDecoded(err error) bool {
	reason := api.ReasonOf(err)
	return reason == pb.Reason_REASON_DELTA_REFUSED || reason == pb.Reason_REASON_DIGEST_MISMATCH
}

// pack is what an upload begins with: a difference to what --delta-from names, else the
// artifact, which goes on in another form if it turns out to be slow.
func (s *session) pack(ctx context.Context, c *client, u *upload, encodings bool, bar *bar) (*parcel, error) {
	p := u.whole()
	p.onTrial = encodings
	if s.deltaFrom == "" || u.header.GetData() {
		return p, nil
	}
	base, err := s.stock.deltaBase(s.deltaFrom)
	if err != nil || !encodings {
		return p, err
	}
	held, err := c.artifacts.GetUploadStatus(ctx, &pb.GetUploadStatusRequest{Digest: u.header.Digest, DeltaBases: []string{base.Digest}})
	if err != nil || len(held.GetDeltaBases()) == 0 {
		return p, err
	}
	return u.smaller(ctx, &base, bar), nil
}

// shrink makes what travels smaller: if there is time for it, by comparing it with what was
// pushed before. Whatever is in the way of that, it goes on as it is.
func (s *session) shrink(ctx context.Context, c *client, u *upload, compare bool, bar *bar) *parcel {
	if !compare {
		return u.smaller(ctx, nil, bar)
	}
	bases := s.kept().Files(u.header.FileName)
	question := &pb.GetUploadStatusRequest{Digest: u.header.Digest}
	for _, b := range bases {
		question.DeltaBases = append(question.DeltaBases, b.Digest)
	}
	held, err := c.artifacts.GetUploadStatus(ctx, question)
	if err != nil {
		return u.whole()
	}
	for _, b := range bases {
		if len(held.GetDeltaBases()) > 0 && b.Digest == held.GetDeltaBases()[0] {
			return u.smaller(ctx, &b, bar)
		}
	}
	return u.smaller(ctx, nil, bar)
}

// smaller is the artifact as its difference to a base, or compressed when there is none;
// the artifact itself when that is not possible or of no use.
func (u *upload) smaller(ctx context.Context, base *kept.File, bar *bar) *parcel {
	digest := ""
	if base != nil {
		digest = base.Digest
		bar.note("comparing %s with %s", u.header.FileName, short(digest))
	}
	u.mu.Lock() // who pushes to another agent waits for the same
	defer u.mu.Unlock()
	if p := u.parcels[digest]; p != nil {
		return p
	}
	p, err := u.encode(ctx, base)
	if errors.Is(err, delta.ErrNoGain) {
		p, err = u.whole(), nil // nor is it to be tried for the next agent
	}
	if err != nil {
		return u.whole()
	}
	u.parcels[digest] = p
	return p
}

// encode makes a parcel in a file without a name.
func (u *upload) encode(ctx context.Context, base *kept.File) (_ *parcel, err error) {
	p := &parcel{}
	var from delta.File
	if base != nil {
		f, proof, err := openBase(base)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		p.base, p.proof = base.Digest, proof
		if from, err = sized(f); err != nil {
			return nil, err
		}
	}
	if p.file, err = os.CreateTemp("", "gracectl-*"); err != nil {
		return nil, err
	}
	_ = os.Remove(p.file.Name())
	p.frames, err = delta.Encode(ctx, p.file, delta.File{ReaderAt: u.file, Size: u.header.SizeBytes}, from)
	if err != nil {
		p.file.Close()
		return nil, err
	}
	p.size = p.frames[len(p.frames)-1]
	return p, nil
}
