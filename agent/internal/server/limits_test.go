package server

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// garbage is a codec that sends bytes which are no message.
type garbage struct{ encoding.Codec }

func (garbage) Marshal(any) ([]byte, error) { return []byte{0xff, 0xff, 0xff}, nil }
func (garbage) Unmarshal([]byte, any) error { return nil }
func (garbage) Name() string                { return "proto" }

func TestMalformedMessages(t *testing.T) {
	h := newHost(t)
	err := h.conn.Invoke(limited(t), pb.SupervisorService_DeleteService_FullMethodName, &pb.DeleteServiceRequest{}, &pb.DeleteServiceResponse{}, grpc.ForceCodec(garbage{}))
	if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "unmarshal") {
		t.Errorf("got %v", err)
	}
	err = h.conn.Invoke(limited(t), "/gracefleet.v1.SupervisorService/NoSuch", &pb.DeleteServiceRequest{}, &pb.DeleteServiceResponse{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
	if h.supervisor.last() != nil {
		t.Error("the supervisor was asked")
	}
	if _, err := h.services().GetService(limited(t), &pb.GetServiceRequest{Name: "web"}); err != nil {
		t.Fatalf("the server is gone: %v", err)
	}
}

func TestOversizeRequests(t *testing.T) {
	h := newHost(t)
	_, err := h.services().ApplyService(limited(t), &pb.ApplyServiceRequest{Name: "web", Reason: strings.Repeat("x", maxRequestBytes+1)})
	wantError(t, err, codes.ResourceExhausted, 0)
	_, err = h.services().ApplyService(limited(t), &pb.ApplyServiceRequest{
		Name: "web", Spec: &pb.ServiceSpec{Artifact: "host:/x", Args: []string{strings.Repeat("x", 129<<10)}},
	})
	wantViolation(t, err, "spec")
}

func TestOversizeHeaders(t *testing.T) {
	h := newHost(t)
	ctx := metadata.AppendToOutgoingContext(limited(t), "x", strings.Repeat("x", maxHeaderBytes+1))
	_, err := h.artifacts().GetUploadStatus(ctx, &pb.GetUploadStatusRequest{Digest: digestOf(nil)})
	if err == nil {
		t.Fatal("accepted")
	}
}

func TestStreamLimit(t *testing.T) {
	h := newHost(t)
	ctx := limited(t)
	for range maxStreams {
		stream, err := h.services().WatchService(ctx, &pb.WatchServiceRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, err := h.services().GetService(short, &pb.GetServiceRequest{Name: "web"})
	wantError(t, err, codes.DeadlineExceeded, 0)
	other := h.dial(t)
	defer other.Close()
	if _, err := pb.NewSupervisorServiceClient(other).GetService(ctx, &pb.GetServiceRequest{Name: "web"}); err != nil {
		t.Fatalf("another connection: %v", err)
	}
}

// A peer that says nothing is let go of.
func TestSilentPeers(t *testing.T) {
	h := newHost(t)
	c, err := net.Dial("unix", h.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(handshakeTimeout + 5*time.Second))
	for {
		if _, err := c.Read(make([]byte, 1024)); err != nil {
			if e := net.Error(nil); errors.As(err, &e) && e.Timeout() {
				t.Fatal("still connected")
			}
			return
		}
	}
}
