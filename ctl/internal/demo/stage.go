package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/scratch"
	"github.com/gracefleet/gracefleet/e2e/load"
)

// stage is what the acts work with.
type stage struct {
	screen *screen
	dir    string
	port   int
	agent  *scratch.Agent
	conn   *grpc.ClientConn
	load   *load.Load

	firstAnswer time.Duration
	lastStray   time.Duration
}

const sample = "sample"

func (s *stage) connect() error {
	conn, err := api.Dial("unix:" + s.agent.Socket)
	s.conn = conn
	return err
}

func (s *stage) services() pb.SupervisorServiceClient { return pb.NewSupervisorServiceClient(s.conn) }
func (s *stage) upgrades() pb.UpgradeServiceClient    { return pb.NewUpgradeServiceClient(s.conn) }

// push stores a version with the agent and returns its digest.
func (s *stage) push(ctx context.Context, version string) (string, error) {
	path := program(s.dir, version)
	digest, n, err := digestOf(path)
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	stream, err := pb.NewArtifactServiceClient(s.conn).UploadArtifact(ctx)
	if err != nil {
		return "", err
	}
	header := &pb.UploadHeader{Digest: digest, SizeBytes: n, FileName: filepath.Base(path), Version: version}
	err = stream.Send(&pb.UploadArtifactRequest{Part: &pb.UploadArtifactRequest_Header{Header: header}})
	chunk := make([]byte, api.MaxChunk)
	for err == nil {
		k, rerr := f.Read(chunk)
		if errors.Is(rerr, io.EOF) {
			break
		}
		if rerr != nil {
			return "", rerr
		}
		err = stream.Send(&pb.UploadArtifactRequest{Part: &pb.UploadArtifactRequest_Chunk{Chunk: chunk[:k]}})
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	_, err = stream.CloseAndRecv()
	return digest, err
}

func (s *stage) spec(artifact string) *pb.ServiceSpec {
	return &pb.ServiceSpec{
		Artifact: artifact, Args: []string{SampleArgument},
		Sockets:   []*pb.Socket{{Name: "http", Listen: fmt.Sprintf("tcp://127.0.0.1:%d", s.port)}},
		Readiness: &pb.Readiness{Timeout: durationpb.New(10 * time.Second), Probe: &pb.Probe{Kind: &pb.Probe_Notify{Notify: &pb.NotifyProbe{}}}},
		Upgrade: &pb.UpgradePolicy{
			Soak: durationpb.New(time.Second),
			Check: &pb.Check{
				Interval: durationpb.New(400 * time.Millisecond), Failures: 2,
				Probe: &pb.Probe{Kind: &pb.Probe_Http{Http: &pb.HttpProbe{Socket: "http", Path: "/healthz"}}},
			},
		},
		Drain: &pb.DrainPolicy{Mode: "signal", Timeout: durationpb.New(10 * time.Second)},
	}
}

// await follows the service until a condition holds, and calls see with every
// state on the way.
func (s *stage) await(ctx context.Context, until func(*pb.ServiceStatus) bool) (*pb.ServiceStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	stream, err := s.services().WatchService(ctx, &pb.WatchServiceRequest{Name: sample})
	if err != nil {
		return nil, err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil, fmt.Errorf("follow the service: %w", err)
		}
		s.screen.state(m.GetStatus())
		if until(m.GetStatus()) {
			return m.GetStatus(), nil
		}
	}
}

// ended waits for the end of an upgrade.
func (s *stage) ended(ctx context.Context, id string) (*pb.Upgrade, error) {
	st, err := s.await(ctx, func(st *pb.ServiceStatus) bool {
		return st.GetUpgrade().GetId() == id && st.GetUpgrade().GetState() >= pb.Upgrade_STATE_SUCCEEDED
	})
	return st.GetUpgrade(), err
}

// endService stops the service and forgets it; there may be none.
func (s *stage) endService(ctx context.Context) error {
	if s.conn == nil {
		return nil
	}
	defer s.conn.Close()
	_, err := s.services().StopService(ctx, &pb.StopServiceRequest{Name: sample, Now: true})
	if status.Code(err) == codes.NotFound {
		return nil
	}
	if err == nil {
		_, err = s.await(ctx, func(st *pb.ServiceStatus) bool {
			for _, g := range st.GetGenerations() {
				if g.GetState() < pb.Generation_STATE_STOPPED {
					return false
				}
			}
			return true
		})
	}
	if err == nil {
		_, err = s.services().DeleteService(ctx, &pb.DeleteServiceRequest{Name: sample})
	}
	if err != nil {
		return fmt.Errorf("end the sample service: %w", err)
	}
	return nil
}
