package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/store"
	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// artifactService is the contract's ArtifactService.
type artifactService struct {
	pb.UnimplementedArtifactServiceServer
	server  *Server
	store   Store
	fetcher Fetcher
	users   func(digest string) []string
}

type uploadStream = grpc.ClientStreamingServer[pb.UploadArtifactRequest, pb.UploadArtifactResponse]

// UploadArtifact receives one artifact. Whatever ends it early, the bytes that
// came stay, and errors say how many those are.
func (a *artifactService) UploadArtifact(stream uploadStream) error {
	h, err := receiveHeader(stream)
	if err != nil {
		return err
	}
	over, err := a.server.beginUpload(stream.Context())
	if err != nil {
		return err
	}
	defer over()
	upload, committed, err := a.store.BeginUpload(h.GetDigest(), h.GetSizeBytes(), a.options(h))
	if err != nil {
		return err
	}
	// Makes durable what came, and does nothing after Commit.
	defer upload.Close()
	if committed < h.GetSizeBytes() {
		if committed, err = a.receive(stream, upload, h, committed); err != nil {
			return withCommitted(err, committed)
		}
	}
	artifact, err := upload.Commit()
	if errors.Is(err, store.ErrIncomplete) {
		return withCommitted(err, committed)
	}
	if err != nil {
		return err
	}
	return stream.SendAndClose(&pb.UploadArtifactResponse{Artifact: a.message(artifact)})
}

func receiveHeader(stream uploadStream) (*pb.UploadHeader, error) {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) || (err == nil && first.GetHeader() == nil) {
		return nil, invalid("header", "the first message must be the header")
	}
	if err != nil {
		return nil, err
	}
	h := first.GetHeader()
	c := &checker{}
	c.failed("header.digest", service.CheckDigest(h.GetDigest()))
	c.that(h.GetOffset() >= 0 && h.GetOffset() <= max(h.GetSizeBytes(), 0), "header.offset", "is not within the artifact")
	c.encoding(h)
	c.description("header.", h)
	return h, c.err()
}

// description is what is told of an artifact, whichever way it comes.
type description interface {
	GetFileName() string
	GetVersion() string
	GetLabels() map[string]string
	GetData() bool
	GetTree() bool
}

// description checks it; prefix is that of the fields.
func (c *checker) description(prefix string, d description) {
	c.that(!d.GetData() || !d.GetTree(), prefix+"tree", "it is either data or a tree")
	c.text(prefix+"file_name", d.GetFileName(), maxText)
	c.text(prefix+"version", d.GetVersion(), maxText)
	c.that(len(d.GetLabels()) <= maxLabels, prefix+"labels", "at most 64")
	for k, v := range d.GetLabels() {
		field := prefix + "labels." + clean(k, 64)
		c.that(k != "" && k != service.VersionLabel, field, "the name is empty or reserved")
		c.text(field, k, maxText)
		c.text(field, v, maxReason)
	}
}

// receive writes until the client has sent everything, and returns how many bytes
// the store then holds.
func (a *artifactService) receive(stream uploadStream, upload *store.Upload, h *pb.UploadHeader, committed int64) (int64, error) {
	if encoded(h) {
		return a.receiveEncoded(stream, upload, h, committed)
	}
	if h.GetOffset() != committed {
		return committed, wrongOffset(h, committed)
	}
	for {
		chunk, err := receiveChunk(stream)
		if errors.Is(err, io.EOF) {
			return committed, nil
		}
		if err != nil {
			return committed, err
		}
		n, err := upload.Write(chunk)
		committed += int64(n)
		if err != nil {
			return committed, err
		}
	}
}

// receiveChunk returns the next bytes; io.EOF when the client has sent everything.
func receiveChunk(stream uploadStream) ([]byte, error) {
	m, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	chunk, ok := m.GetPart().(*pb.UploadArtifactRequest_Chunk)
	if !ok {
		return nil, invalid("chunk", "after the header come chunks only")
	}
	if len(chunk.Chunk) > api.MaxChunk {
		return nil, invalid("chunk", "%d bytes: at most %d", len(chunk.Chunk), api.MaxChunk)
	}
	return chunk.Chunk, nil
}

func wrongOffset(h *pb.UploadHeader, committed int64) error {
	return &api.Error{
		Code: codes.FailedPrecondition, Reason: pb.Reason_REASON_INVALID,
		Message:  fmt.Sprintf("upload of %s: the agent holds %d bytes, the upload goes on at %d: start at %d", h.GetDigest(), committed, h.GetOffset(), committed),
		Metadata: committedMetadata(committed),
	}
}

func withCommitted(err error, committed int64) error {
	return &withMetadata{error: err, metadata: committedMetadata(committed)}
}

func committedMetadata(committed int64) map[string]string {
	return map[string]string{api.MetadataCommittedBytes: strconv.FormatInt(committed, 10)}
}

// options are what is told, for the store; the version is among the labels.
func (a *artifactService) options(d description) store.UploadOptions {
	labels := map[string]string{}
	maps.Copy(labels, d.GetLabels())
	if d.GetVersion() != "" {
		labels[service.VersionLabel] = d.GetVersion()
	}
	return store.UploadOptions{Name: d.GetFileName(), Labels: labels, Data: d.GetData(), Tree: d.GetTree(), InUse: a.inUse}
}

func (a *artifactService) message(x store.Artifact) *pb.Artifact {
	labels := maps.Clone(x.Labels)
	delete(labels, service.VersionLabel)
	return &pb.Artifact{
		Digest: x.Digest, SizeBytes: x.Size, CreateTime: newTimestamp(x.Created), FileName: x.Name,
		Version: x.Labels[service.VersionLabel], UsedBy: a.users(x.Digest), Labels: labels, Data: x.Data, Tree: x.Tree,
	}
}

// GetUploadStatus says how much of an artifact the host holds.
func (a *artifactService) GetUploadStatus(_ context.Context, r *pb.GetUploadStatusRequest) (*pb.GetUploadStatusResponse, error) {
	c := &checker{}
	c.failed("digest", service.CheckDigest(r.GetDigest()))
	c.that(len(r.GetDeltaBases()) <= maxBases, "delta_bases", "at most 32")
	if err := c.err(); err != nil {
		return nil, err
	}
	state, err := a.store.UploadStatus(r.GetDigest())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return &pb.GetUploadStatusResponse{
		CommittedBytes: state.Committed, Complete: state.Complete, DeltaBases: a.bases(r.GetDeltaBases()), Encodings: true,
	}, nil
}

// ListArtifacts returns a page of the stored artifacts, newest first.
func (a *artifactService) ListArtifacts(_ context.Context, r *pb.ListArtifactsRequest) (*pb.ListArtifactsResponse, error) {
	list, err := a.store.ListArtifacts()
	if err != nil {
		return nil, err
	}
	var all []item[*pb.Artifact]
	for _, x := range list {
		all = append(all, item[*pb.Artifact]{timeKey(x.Created, x.Digest), a.message(x)})
	}
	artifacts, next, err := page(all, true, r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &pb.ListArtifactsResponse{Artifacts: artifacts, NextPageToken: next}, nil
}

// DeleteArtifact removes an artifact that no kept generation refers to.
func (a *artifactService) DeleteArtifact(ctx context.Context, r *pb.DeleteArtifactRequest) (*pb.DeleteArtifactResponse, error) {
	c := &checker{}
	c.failed("digest", service.CheckDigest(r.GetDigest()))
	c.caller(ctx, r.GetRequestId(), r.GetReason())
	if err := c.err(); err != nil {
		return nil, err
	}
	if _, err := a.store.GetArtifact(r.GetDigest()); err != nil {
		return nil, err
	}
	if users := a.users(r.GetDigest()); len(users) > 0 {
		return nil, fmt.Errorf("artifact %s: %w: kept generations of %v refer to it", r.GetDigest(), store.ErrInUse, users)
	}
	if r.GetValidateOnly() {
		return &pb.DeleteArtifactResponse{}, nil
	}
	err := a.store.DeleteArtifact(r.GetDigest(), a.inUse)
	if err != nil {
		return nil, err
	}
	return &pb.DeleteArtifactResponse{}, nil
}

func (a *artifactService) inUse(digest string) bool { return len(a.users(digest)) > 0 }
