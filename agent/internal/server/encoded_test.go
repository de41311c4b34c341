package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/agent/internal/store"
	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/delta"
)

// program is an executable of a size in bytes that hardly compresses.
func program(seed uint64, size int) []byte {
	b := script(size)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := 12; i < len(b); i++ {
		b[i] = 'A' + byte(r.IntN(16))
	}
	return b
}

func file(b []byte) delta.File { return delta.File{ReaderAt: bytes.NewReader(b), Size: int64(len(b))} }

func encode(t *testing.T, content, base []byte) (wire []byte, frames []int64) {
	t.Helper()
	var out bytes.Buffer
	frames, err := delta.Encode(t.Context(), &out, file(content), file(base))
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), frames
}

// deltaHeader is a header of what is encoded against a base.
func deltaHeader(t *testing.T, content, base []byte, offset int64) *pb.UploadHeader {
	t.Helper()
	h := header(content, offset)
	h.DeltaBase = digestOf(base)
	proof, err := delta.Proof(h.DeltaBase, bytes.NewReader(base))
	if err != nil {
		t.Fatal(err)
	}
	h.DeltaBaseProof = proof
	return h
}

// stored pushes an artifact as it is.
func (h *host) stored(t *testing.T, content []byte) []byte {
	t.Helper()
	if _, err := h.upload(t, header(content, 0), content); err != nil {
		t.Fatal(err)
	}
	return content
}

// changed is the next release: a few bytes differ, and some are new.
func changed(b []byte, seed uint64) []byte {
	at := len(b) / 3
	return slices.Concat(b[:at], program(seed, 300)[100:], b[at+50:])
}

func TestUploadAsADifference(t *testing.T) {
	h := newHost(t)
	base := h.stored(t, program(1, 500_000))
	content := changed(base, 2)
	wire, _ := encode(t, content, base)
	if len(wire) > 1000 {
		t.Errorf("%d bytes for 200 new ones", len(wire))
	}
	got, err := h.upload(t, deltaHeader(t, content, base, 0), wire)
	if err != nil || got.GetDigest() != digestOf(content) || got.GetSizeBytes() != int64(len(content)) {
		t.Fatalf("%v, %v", got, err)
	}
	if s := h.held(t, digestOf(content)); !s.GetComplete() || !s.GetEncodings() {
		t.Errorf("status %v", s)
	}
	if again, err := h.upload(t, deltaHeader(t, content, base, 0), nil); err != nil || again.GetDigest() != got.GetDigest() {
		t.Errorf("what is stored was not accepted again: %v, %v", again, err)
	}
}

func TestCompressedUpload(t *testing.T) {
	h := newHost(t)
	content := program(1, 500_000)
	wire, _ := encode(t, content, nil)
	head := header(content, 0)
	head.Compressed = true
	if got, err := h.upload(t, head, wire); err != nil || got.GetDigest() != digestOf(content) {
		t.Fatalf("%v, %v", got, err)
	}
}

// Whatever the agent has, as it was sent or as it was decoded, an upload goes on at the
// segment in which that ends.
func TestEncodedUploadGoesOn(t *testing.T) {
	h := newHost(t)
	base := h.stored(t, program(1, 2*delta.Segment+1000))
	content := changed(base, 2)
	wire, frames := encode(t, content, base)

	_, err := h.upload(t, header(content, 0), content[:delta.Segment+77])
	wantError(t, err, codes.FailedPrecondition, pb.Reason_REASON_INVALID)
	_, err = h.upload(t, deltaHeader(t, content, base, 2*delta.Segment), wire[frames[2]:])
	e := wantError(t, err, codes.FailedPrecondition, pb.Reason_REASON_INVALID)
	if want := fmt.Sprint(delta.Segment + 77); e.Metadata[api.MetadataCommittedBytes] != want {
		t.Errorf("beyond what is held: metadata %v, want %s", e.Metadata, want)
	}
	_, err = h.upload(t, deltaHeader(t, content, base, delta.Segment), wire[frames[1]:frames[2]])
	e = wantError(t, err, codes.FailedPrecondition, pb.Reason_REASON_INVALID)
	if want := fmt.Sprint(2 * delta.Segment); e.Metadata[api.MetadataCommittedBytes] != want {
		t.Errorf("after one segment: metadata %v, want %s", e.Metadata, want)
	}
	if _, err := h.upload(t, header(content, 2*delta.Segment), content[2*delta.Segment:]); err != nil {
		t.Fatal(err)
	}
}

func TestBasesThatAreHeld(t *testing.T) {
	h := newHost(t)
	one, two := digestOf(h.stored(t, program(1, 1000))), digestOf(h.stored(t, program(2, 1000)))
	ask := func(bases ...string) (*pb.GetUploadStatusResponse, error) {
		return h.artifacts().GetUploadStatus(limited(t), &pb.GetUploadStatusRequest{Digest: digestOf(nil), DeltaBases: bases})
	}
	got, err := ask(two, digestOf([]byte("absent")), "../../etc", one)
	if err != nil || !slices.Equal(got.GetDeltaBases(), []string{two, one}) {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = ask(slices.Repeat([]string{one}, maxBases+1)...)
	wantViolation(t, err, "delta_bases")
}

// repeats is a frame of as many blocks of 128 KiB, of four bytes each.
func repeats(blocks int) []byte {
	return append([]byte("\x28\xb5\x2f\xfd\x00\x68"), bytes.Repeat([]byte{0x02, 0x00, 0x10, 'x'}, blocks)...)
}

// What is no difference leaves nothing behind, and the artifact can be sent as it is.
func TestEncodedUploadsThatAreRefused(t *testing.T) {
	h := newHost(t)
	base := h.stored(t, program(1, 100_000))
	other := h.stored(t, program(2, 100_000))
	content := changed(base, 3)
	wire, _ := encode(t, content, base)
	with := func(base []byte, change func(*pb.UploadHeader)) *pb.UploadHeader {
		head := deltaHeader(t, content, base, 0)
		change(head)
		return head
	}
	as := func(*pb.UploadHeader) {}
	flipped := slices.Clone(wire)
	flipped[len(flipped)/2] ^= 0x10
	for name, c := range map[string]struct {
		head   *pb.UploadHeader
		wire   []byte
		code   codes.Code
		reason pb.Reason
	}{
		"absent base": {with([]byte("absent"), as), wire, codes.FailedPrecondition, pb.Reason_REASON_DELTA_REFUSED},
		"proof of another": {
			with(base, func(h *pb.UploadHeader) { h.DeltaBaseProof = deltaHeader(t, content, other, 0).DeltaBaseProof }),
			wire, codes.FailedPrecondition, pb.Reason_REASON_DELTA_REFUSED,
		},
		"no proof":     {with(base, func(h *pb.UploadHeader) { h.DeltaBaseProof = nil }), wire, codes.InvalidArgument, pb.Reason_REASON_INVALID},
		"no digest":    {with(base, func(h *pb.UploadHeader) { h.DeltaBase = "x" }), wire, codes.InvalidArgument, pb.Reason_REASON_INVALID},
		"both":         {with(base, func(h *pb.UploadHeader) { h.Compressed = true }), wire, codes.InvalidArgument, pb.Reason_REASON_INVALID},
		"no segment":   {with(base, func(h *pb.UploadHeader) { h.Offset = 7 }), wire, codes.InvalidArgument, pb.Reason_REASON_INVALID},
		"another base": {with(other, as), wire, codes.InvalidArgument, pb.Reason_REASON_DIGEST_MISMATCH},
		"no base": {
			with(base, func(h *pb.UploadHeader) { h.DeltaBase, h.DeltaBaseProof, h.Compressed = "", nil, true }),
			wire, codes.InvalidArgument, pb.Reason_REASON_DELTA_REFUSED,
		},
		"as it is":               {with(base, as), content[:50_000], codes.InvalidArgument, pb.Reason_REASON_DELTA_REFUSED},
		"cut":                    {with(base, as), wire[:len(wire)-1], codes.InvalidArgument, pb.Reason_REASON_DELTA_REFUSED},
		"changed":                {with(base, as), flipped, codes.InvalidArgument, 0},
		"bomb":                   {with(base, as), repeats(5000), codes.InvalidArgument, pb.Reason_REASON_TOO_LARGE},
		"nothing":                {with(base, as), nil, codes.FailedPrecondition, pb.Reason_REASON_INVALID},
		"other bytes, then none": {with(base, as), []byte("\x28\xb5\x2f\xfd\x00\x68\x51\x00\x00other bytesxxxx"), codes.InvalidArgument, pb.Reason_REASON_DELTA_REFUSED},
		// Frames that are skipped, or hold nothing, could go on for ever.
		"much ado": {with(base, as), bytes.Repeat([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00skip"), 10_000), codes.InvalidArgument, pb.Reason_REASON_INVALID},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.upload(t, c.head, c.wire)
			e := api.FromStatus(err)
			if e == nil || e.Code != c.code || c.reason != 0 && e.Reason != c.reason {
				t.Fatalf("got %+v, want %v %v", e, c.code, c.reason)
			}
			at := h.held(t, digestOf(content)).GetCommittedBytes()
			if at > c.head.GetSizeBytes() {
				t.Errorf("%d bytes are held of %d", at, c.head.GetSizeBytes())
			}
			if _, err := h.upload(t, header(content, at), content[at:]); err != nil {
				t.Errorf("as it is, from %d on: %v", at, err)
			}
			if _, err := h.artifacts().DeleteArtifact(limited(t), &pb.DeleteArtifactRequest{Digest: digestOf(content)}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// FuzzEncodedChunks decodes anything into a real upload: never more than was announced is
// on the disk, whatever comes.
func FuzzEncodedChunks(f *testing.F) {
	content := program(1, 5000)
	base := changed(content, 2)
	var out bytes.Buffer
	if _, err := delta.Encode(f.Context(), &out, file(content), file(base)); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes(), uint16(0))
	f.Add(out.Bytes(), uint16(100))
	f.Add(repeats(10), uint16(0))
	f.Add(repeats(1)[:8], uint16(6000))
	f.Fuzz(func(t *testing.T, wire []byte, skip uint16) {
		st, err := store.Open(filepath.Join(t.TempDir(), "state"), store.Options{Reserve: -1, KeepFree: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		upload, _, err := st.BeginUpload(digestOf(content), int64(len(content)), store.UploadOptions{Name: "web"})
		if err != nil {
			t.Fatal(err)
		}
		defer upload.Close()
		r, err := delta.NewReader(bytes.NewReader(wire), int64(len(content)), base)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		written, _ := decode(r, upload, int64(skip))
		on, err := st.UploadStatus(digestOf(content))
		if err != nil || on.Committed != written || written > int64(len(content)) {
			t.Fatalf("%d bytes are there, %d were said, %d announced: %v", on.Committed, written, len(content), err)
		}
	})
}
