package ctl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/chain"
	"github.com/gracefleet/gracefleet/internal/delta"
)

// agent is a server of the whole API that answers from a script and records
// what it was asked, on a real socket.
type agent struct {
	pb.UnimplementedAgentServiceServer
	pb.UnimplementedSupervisorServiceServer
	pb.UnimplementedUpgradeServiceServer
	pb.UnimplementedArtifactServiceServer
	pb.UnimplementedAuditServiceServer

	socket string
	server *grpc.Server
	served chan error

	mu       sync.Mutex
	requests []proto.Message

	// answers by request type; an error in place of a message refuses.
	answers map[string]any
	// looks are what WatchService streams; then it waits for its client.
	looks []*pb.ServiceStatus
	// watched is closed when the looks were sent.
	watched chan struct{}
	watches int
	lines   []*pb.ReadLogsResponse
	events  []*pb.Event
	audit   [][]byte

	stored map[string][]byte // artifacts, also partial ones
	sizes  map[string]int64
	// breakAt ends uploads with breakWith once so many bytes are there.
	breakAt   int
	breakWith error
	// encodings says that it decodes, unless refuse says why not.
	encodings bool
	refuse    *api.Error
	// fetches are what FetchArtifact answers, call by call: what it says, then an error.
	fetches [][]any
	// stall is how long it waits before it reads on.
	stall time.Duration

	rollouts *rolloutHost
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	a := &agent{
		socket:  filepath.Join(shortDir(t), "s"),
		answers: map[string]any{},
		watched: make(chan struct{}),
		stored:  map[string][]byte{},
		sizes:   map[string]int64{},
	}
	a.rollouts = newRolloutHost(a)
	a.start(t)
	t.Cleanup(func() { a.stop() })
	return a
}

// shortDir is a directory whose sockets' paths fit into a socket address.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (a *agent) start(t *testing.T) {
	t.Helper()
	os.Remove(a.socket)
	l, err := net.Listen("unix", a.socket)
	if err != nil {
		t.Fatal(err)
	}
	a.server = grpc.NewServer(grpc.UnaryInterceptor(a.unary))
	pb.RegisterAgentServiceServer(a.server, a)
	pb.RegisterSupervisorServiceServer(a.server, a)
	pb.RegisterUpgradeServiceServer(a.server, a)
	pb.RegisterArtifactServiceServer(a.server, a)
	pb.RegisterAuditServiceServer(a.server, a)
	pb.RegisterRolloutServiceServer(a.server, a.rollouts)
	a.served = make(chan error, 1)
	go func(s *grpc.Server) { a.served <- s.Serve(l) }(a.server)
}

func (a *agent) stop() {
	a.server.Stop()
	<-a.served
}

// unary answers every unary call from the script, if that has an answer.
func (a *agent) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	a.mu.Lock()
	a.requests = append(a.requests, proto.Clone(req.(proto.Message)))
	answer, ok := a.answers[fmt.Sprintf("%T", req)]
	a.mu.Unlock()
	if err, refused := answer.(error); refused {
		return nil, err
	}
	if ok {
		return answer, nil
	}
	return next(ctx, req)
}

// on scripts the answer to a type of request: a message, or an error.
func (a *agent) on(req proto.Message, answer any) *agent {
	if e, ok := answer.(*api.Error); ok {
		answer = e.GRPCStatus().Err()
	}
	a.answers[fmt.Sprintf("%T", req)] = answer
	return a
}

// asked returns the requests of one type.
func asked[M proto.Message](a *agent) []M {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []M
	for _, r := range a.requests {
		if m, ok := r.(M); ok {
			out = append(out, m)
		}
	}
	return out
}

func (a *agent) record(m proto.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, proto.Clone(m))
}

func (a *agent) GetAgentInfo(context.Context, *pb.GetAgentInfoRequest) (*pb.GetAgentInfoResponse, error) {
	return &pb.GetAgentInfoResponse{Agent: &pb.AgentInfo{Host: "h1"}}, nil
}

func (a *agent) WatchService(req *pb.WatchServiceRequest, out grpc.ServerStreamingServer[pb.WatchServiceResponse]) error {
	a.record(req)
	a.mu.Lock()
	looks := a.looks
	a.watches++
	a.mu.Unlock()
	for _, st := range looks {
		if err := out.Send(&pb.WatchServiceResponse{Status: st}); err != nil {
			return err
		}
	}
	a.mu.Lock()
	select {
	case <-a.watched:
	default:
		close(a.watched)
	}
	a.mu.Unlock()
	<-out.Context().Done()
	return nil
}

func (a *agent) ReadLogs(req *pb.ReadLogsRequest, out grpc.ServerStreamingServer[pb.ReadLogsResponse]) error {
	a.record(req)
	for _, l := range a.lines {
		if err := out.Send(l); err != nil {
			return err
		}
	}
	return nil
}

func (a *agent) WatchEvents(req *pb.WatchEventsRequest, out grpc.ServerStreamingServer[pb.WatchEventsResponse]) error {
	a.record(req)
	for _, e := range a.events {
		if err := out.Send(&pb.WatchEventsResponse{Event: e}); err != nil {
			return err
		}
	}
	return nil
}

func (a *agent) ReadAudit(req *pb.ReadAuditRequest, out grpc.ServerStreamingServer[pb.ReadAuditResponse]) error {
	a.record(req)
	first := &pb.ReadAuditResponse{Anchor: &pb.AuditHead{}, Head: &pb.AuditHead{Sequence: int64(len(a.audit))}}
	if err := out.Send(first); err != nil {
		return err
	}
	var lines [][]byte
	for _, line := range a.audit {
		if e, err := chain.Decode(line); err != nil || e.Seq > req.GetAfter() && (req.GetService() == "" || e.Service == req.GetService()) {
			lines = append(lines, line)
		}
	}
	if err := out.Send(&pb.ReadAuditResponse{Lines: lines}); err != nil || !req.GetFollow() {
		return err
	}
	return status.Error(codes.Unavailable, "the agent is stopping")
}

func (a *agent) GetUploadStatus(_ context.Context, req *pb.GetUploadStatusRequest) (*pb.GetUploadStatusResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := int64(len(a.stored[req.GetDigest()]))
	var held []string
	for _, d := range req.GetDeltaBases() {
		if a.stored[d] != nil && a.encodings {
			held = append(held, d)
		}
	}
	complete := n > 0 && n == a.sizes[req.GetDigest()]
	return &pb.GetUploadStatusResponse{CommittedBytes: n, Complete: complete, DeltaBases: held, Encodings: a.encodings}, nil
}

// GrantArtifact lets everybody fetch who shows to have the bytes.
func (a *agent) GrantArtifact(_ context.Context, req *pb.GrantArtifactRequest) (*pb.GrantArtifactResponse, error) {
	a.record(req)
	a.mu.Lock()
	defer a.mu.Unlock()
	proof, err := delta.Proof(req.GetDigest(), bytes.NewReader(a.stored[req.GetDigest()]))
	if err != nil || !bytes.Equal(proof, req.GetProof()) {
		return nil, status.Error(codes.FailedPrecondition, "no proof")
	}
	return &pb.GrantArtifactResponse{Ticket: "secret"}, nil
}

func (a *agent) UploadArtifact(in grpc.ClientStreamingServer[pb.UploadArtifactRequest, pb.UploadArtifactResponse]) error {
	defer a.rollouts.arrived()
	return a.upload(in)
}

func (a *agent) upload(in grpc.ClientStreamingServer[pb.UploadArtifactRequest, pb.UploadArtifactResponse]) error {
	first, err := in.Recv()
	if err != nil {
		return err
	}
	h := first.GetHeader()
	a.record(h)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sizes[h.GetDigest()] = h.GetSizeBytes()
	if h.GetDeltaBase() != "" || h.GetCompressed() {
		return a.decode(in, h)
	}
	if h.GetOffset() != int64(len(a.stored[h.GetDigest()])) {
		return status.Error(codes.OutOfRange, "wrong offset")
	}
	if err := chunks(in, func(chunk []byte) error {
		a.stored[h.GetDigest()] = append(a.stored[h.GetDigest()], chunk...)
		if a.breakAt > 0 && len(a.stored[h.GetDigest()]) >= a.breakAt {
			a.breakAt = 0
			return a.breakWith
		}
		time.Sleep(a.stall)
		a.stall = 0
		return nil
	}); err != nil {
		return err
	}
	return a.commit(in, h)
}

// chunks takes what follows the header of an upload.
func chunks(in grpc.ClientStreamingServer[pb.UploadArtifactRequest, pb.UploadArtifactResponse], take func([]byte) error) error {
	for {
		m, err := in.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case len(m.GetChunk()) > api.MaxChunk:
			return status.Error(codes.InvalidArgument, "chunk too large")
		}
		if err := take(m.GetChunk()); err != nil {
			return err
		}
	}
}

// decode takes the rest of an artifact in another form.
func (a *agent) decode(in grpc.ClientStreamingServer[pb.UploadArtifactRequest, pb.UploadArtifactResponse], h *pb.UploadHeader) error {
	if a.refuse != nil {
		return a.refuse.GRPCStatus().Err()
	}
	var wire bytes.Buffer
	if err := chunks(in, func(chunk []byte) error {
		wire.Write(chunk)
		return nil
	}); err != nil {
		return err
	}
	base := a.stored[h.GetDeltaBase()]
	proof, err := delta.Proof(h.GetDeltaBase(), bytes.NewReader(base))
	if err != nil || h.GetDeltaBase() != "" && !bytes.Equal(proof, h.GetDeltaBaseProof()) {
		return status.Error(codes.InvalidArgument, "no proof")
	}
	r, err := delta.NewReader(io.MultiReader(&wire), h.GetSizeBytes(), base)
	if err != nil {
		return err
	}
	defer r.Close()
	rest, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	a.stored[h.GetDigest()] = append(a.stored[h.GetDigest()][:h.GetOffset()], rest...)
	return a.commit(in, h)
}

func (a *agent) commit(in grpc.ClientStreamingServer[pb.UploadArtifactRequest, pb.UploadArtifactResponse], h *pb.UploadHeader) error {
	if held := int64(len(a.stored[h.GetDigest()])); held < h.GetSizeBytes() {
		return status.Error(codes.FailedPrecondition, "not all of it")
	}
	sum := sha256.Sum256(a.stored[h.GetDigest()])
	if "sha256:"+hex.EncodeToString(sum[:]) != h.GetDigest() {
		return (&api.Error{Code: codes.DataLoss, Reason: pb.Reason_REASON_DIGEST_MISMATCH, Message: "digest mismatch"}).GRPCStatus().Err()
	}
	return in.SendAndClose(&pb.UploadArtifactResponse{Artifact: &pb.Artifact{Digest: h.GetDigest(), SizeBytes: h.GetSizeBytes(), FileName: h.GetFileName(), Version: h.GetVersion()}})
}

// ran is what a run of gracectl left.
type ran struct {
	code     int
	out, err string
}

// gracectl runs the command line against the agent.
func (a *agent) gracectl(t *testing.T, args ...string) ran {
	t.Helper()
	return gracectl(t, t.Context(), map[string]string{"GRACECTL_AGENT": "unix:" + a.socket}, args...)
}

func gracectl(t *testing.T, ctx context.Context, env map[string]string, args ...string) ran {
	t.Helper()
	var out, err bytes.Buffer
	code := Run(ctx, args, Stdio{In: new(bytes.Buffer), Out: &out, Err: &err, Getenv: func(k string) string { return env[k] }, Version: "v1.2.3"})
	return ran{code, out.String(), err.String()}
}
