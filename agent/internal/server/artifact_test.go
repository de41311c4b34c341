package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/agent/internal/store"
	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// script is an executable of a size in bytes.
func script(size int) []byte {
	return append([]byte("#!/bin/sh\n#"), bytes.Repeat([]byte("x"), size-11)...)
}

func digestOf(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func header(content []byte, offset int64) *pb.UploadHeader {
	return &pb.UploadHeader{
		Digest: digestOf(content), SizeBytes: int64(len(content)), Offset: offset, FileName: "web", Version: "v1",
		Labels: map[string]string{"commit": "abc"},
	}
}

// open begins an upload.
func (h *host) open(t *testing.T, ctx context.Context, head *pb.UploadHeader) pb.ArtifactService_UploadArtifactClient {
	t.Helper()
	stream, err := h.artifacts().UploadArtifact(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.UploadArtifactRequest{Part: &pb.UploadArtifactRequest_Header{Header: head}}); err != nil {
		t.Fatal(err)
	}
	return stream
}

// upload sends everything; what goes wrong shows in the answer.
func (h *host) upload(t *testing.T, head *pb.UploadHeader, content []byte) (*pb.Artifact, error) {
	t.Helper()
	stream := h.open(t, limited(t), head)
	for len(content) > 0 {
		n := min(len(content), 256<<10)
		if stream.Send(chunkOf(content[:n])) != nil {
			break
		}
		content = content[n:]
	}
	answer, err := stream.CloseAndRecv()
	return answer.GetArtifact(), err
}

func chunkOf(b []byte) *pb.UploadArtifactRequest {
	return &pb.UploadArtifactRequest{Part: &pb.UploadArtifactRequest_Chunk{Chunk: b}}
}

func (h *host) held(t *testing.T, digest string) *pb.GetUploadStatusResponse {
	t.Helper()
	answer, err := h.artifacts().GetUploadStatus(limited(t), &pb.GetUploadStatusRequest{Digest: digest})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestUploadListDelete(t *testing.T) {
	h := newHost(t)
	content := script(1 << 20)
	got, err := h.upload(t, header(content, 0), content)
	if err != nil {
		t.Fatal(err)
	}
	if got.GetDigest() != digestOf(content) || got.GetVersion() != "v1" || got.GetFileName() != "web" || len(got.GetLabels()) != 1 {
		t.Errorf("got %v", got)
	}
	if again, err := h.upload(t, header(content, 0), nil); err != nil || again.GetDigest() != got.GetDigest() {
		t.Errorf("what is stored was not accepted again: %v, %v", again, err)
	}
	if s := h.held(t, got.GetDigest()); !s.GetComplete() || s.GetCommittedBytes() != 1<<20 {
		t.Errorf("status %v", s)
	}

	h.supervisor.users[got.GetDigest()] = []string{"web"}
	list, err := h.artifacts().ListArtifacts(limited(t), &pb.ListArtifactsRequest{})
	if err != nil || len(list.GetArtifacts()) != 1 || list.GetArtifacts()[0].GetUsedBy()[0] != "web" {
		t.Fatalf("got %v, %v", list, err)
	}
	remove := &pb.DeleteArtifactRequest{Digest: got.GetDigest()}
	_, err = h.artifacts().DeleteArtifact(limited(t), remove)
	wantError(t, err, codes.FailedPrecondition, pb.Reason_REASON_ARTIFACT_IN_USE)

	delete(h.supervisor.users, got.GetDigest())
	if _, err := h.artifacts().DeleteArtifact(limited(t), &pb.DeleteArtifactRequest{Digest: got.GetDigest(), ValidateOnly: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.artifacts().DeleteArtifact(limited(t), remove); err != nil {
		t.Fatal(err)
	}
	_, err = h.artifacts().DeleteArtifact(limited(t), remove)
	wantError(t, err, codes.NotFound, pb.Reason_REASON_ARTIFACT_NOT_FOUND)
	if s := h.held(t, got.GetDigest()); s.GetComplete() || s.GetCommittedBytes() != 0 {
		t.Errorf("status %v", s)
	}
}

func TestUploadEndsEarlyAndResumes(t *testing.T) {
	h := newHost(t)
	content := script(600 << 10)
	_, err := h.upload(t, header(content, 0), content[:300<<10])
	e := wantError(t, err, codes.FailedPrecondition, pb.Reason_REASON_INVALID)
	if e.Metadata[api.MetadataCommittedBytes] != fmt.Sprint(300<<10) {
		t.Errorf("metadata %v", e.Metadata)
	}
	if s := h.held(t, digestOf(content)); s.GetComplete() || s.GetCommittedBytes() != 300<<10 {
		t.Errorf("status %v", s)
	}
	_, err = h.upload(t, header(content, 7), content[7:])
	e = wantError(t, err, codes.FailedPrecondition, pb.Reason_REASON_INVALID)
	if e.Metadata[api.MetadataCommittedBytes] != fmt.Sprint(300<<10) {
		t.Errorf("metadata %v", e.Metadata)
	}
	if _, err := h.upload(t, header(content, 300<<10), content[300<<10:]); err != nil {
		t.Fatal(err)
	}
}

func TestUploadOfAClientThatVanishes(t *testing.T) {
	h := newHost(t)
	content := script(600 << 10)
	ctx, vanish := context.WithCancel(limited(t))
	stream := h.open(t, ctx, header(content, 0))
	if err := stream.Send(chunkOf(content[:100<<10])); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return h.held(t, digestOf(content)).GetCommittedBytes() == 100<<10 })
	_, err := h.upload(t, header(content, 0), content)
	wantError(t, err, codes.Aborted, pb.Reason_REASON_UPLOAD_BUSY)

	vanish()
	waitFor(t, func() bool {
		_, err := h.upload(t, header(content, 100<<10), content[100<<10:])
		if err != nil && api.ReasonOf(err) != pb.Reason_REASON_UPLOAD_BUSY {
			t.Fatal(err)
		}
		return err == nil
	})
}

// waitFor polls for what the handler of another stream does: no event tells.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time")
		}
	}
}

func TestBadUploads(t *testing.T) {
	h := newHost(t)
	content := script(1000)
	text := []byte("just text, no program at all")
	with := func(change func(*pb.UploadHeader)) *pb.UploadHeader {
		head := header(content, 0)
		change(head)
		return head
	}
	for name, c := range map[string]struct {
		head    *pb.UploadHeader
		content []byte
		code    codes.Code
		reason  pb.Reason
	}{
		"digest":      {with(func(h *pb.UploadHeader) { h.Digest = "md5:x" }), content, codes.InvalidArgument, pb.Reason_REASON_INVALID},
		"offset":      {with(func(h *pb.UploadHeader) { h.Offset = -1 }), content, codes.InvalidArgument, pb.Reason_REASON_INVALID},
		"empty":       {with(func(h *pb.UploadHeader) { h.SizeBytes = 0 }), nil, codes.InvalidArgument, pb.Reason_REASON_NOT_EXECUTABLE},
		"too large":   {with(func(h *pb.UploadHeader) { h.SizeBytes = 1 << 40 }), content, codes.InvalidArgument, pb.Reason_REASON_TOO_LARGE},
		"more":        {with(func(h *pb.UploadHeader) { h.SizeBytes = 500 }), content, codes.InvalidArgument, pb.Reason_REASON_TOO_LARGE},
		"other bytes": {with(func(h *pb.UploadHeader) { h.Digest = digestOf(text) }), content, codes.InvalidArgument, pb.Reason_REASON_DIGEST_MISMATCH},
		"text":        {header(text, 0), text, codes.InvalidArgument, pb.Reason_REASON_NOT_EXECUTABLE},
		"reserved":    {with(func(h *pb.UploadHeader) { h.Labels = map[string]string{"gracefleet.version": "x"} }), content, codes.InvalidArgument, pb.Reason_REASON_INVALID},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.upload(t, c.head, c.content)
			wantError(t, err, c.code, c.reason)
		})
	}
	stream, err := h.artifacts().UploadArtifact(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.Send(chunkOf(content))
	_, err = stream.CloseAndRecv()
	wantViolation(t, err, "header")
}

func TestChunkLimit(t *testing.T) {
	h := newHost(t)
	content := script(700 << 10)
	stream := h.open(t, limited(t), header(content, 0))
	_ = stream.Send(chunkOf(content[:api.MaxChunk+1]))
	_, err := stream.CloseAndRecv()
	wantViolation(t, err, "chunk")
	// Above what gRPC takes for one message.
	stream = h.open(t, limited(t), header(content, 0))
	_ = stream.Send(chunkOf(make([]byte, maxRequestBytes+1)))
	_, err = stream.CloseAndRecv()
	wantError(t, err, codes.ResourceExhausted, 0)
}

var _ Store = (*store.Store)(nil)

// BenchmarkUpload pushes 100 MiB, verified and synced.
func BenchmarkUpload(b *testing.B) {
	h := newHost(b)
	content := script(100 << 20)
	b.SetBytes(int64(len(content)))
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		copy(content[11:], fmt.Sprintf("%08d", i))
		head := header(content, 0)
		b.StartTimer()
		stream, err := h.artifacts().UploadArtifact(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		_ = stream.Send(&pb.UploadArtifactRequest{Part: &pb.UploadArtifactRequest_Header{Header: head}})
		for rest := content; len(rest) > 0; rest = rest[min(len(rest), api.MaxChunk):] {
			_ = stream.Send(chunkOf(rest[:min(len(rest), api.MaxChunk)]))
		}
		if _, err := stream.CloseAndRecv(); err != nil {
			b.Fatal(err)
		}
	}
}
