package api

import (
	"context"
	"crypto/rand"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/gracefleet/gracefleet/internal/pause"
)

// RetryServiceConfig is the gRPC service config that Dial sets. It repeats a
// call that failed with UNAVAILABLE, as while an agent restarts, and no other
// failure; only calls that read, or that carry a request id which makes the
// repeat harmless. Uploads resume at an offset instead, and a repeated
// DeleteArtifact would find nothing.
const RetryServiceConfig = `{
  "methodConfig": [{
    "name": [
      {"service": "gracefleet.v1.SupervisorService"},
      {"service": "gracefleet.v1.UpgradeService"},
      {"service": "gracefleet.v1.AgentService"},
      {"service": "gracefleet.v1.ArtifactService", "method": "GetUploadStatus"},
      {"service": "gracefleet.v1.ArtifactService", "method": "ListArtifacts"}
    ],
    "retryPolicy": {
      "maxAttempts": 5,
      "initialBackoff": "0.1s",
      "maxBackoff": "1s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
}`

// NewRequestID returns a request id that nobody else has.
func NewRequestID() string { return rand.Text() }

// ensureRequestID gives each request that can carry an id and has none a new
// one. It works above the retries, so that all attempts carry the same.
func ensureRequestID(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(ctx, method, withRequestID(req), reply, cc, opts...)
}

// withRequestID copies the request instead of changing it: a caller that sends
// the same one twice asks for two things.
func withRequestID(req any) any {
	m, ok := req.(proto.Message)
	if !ok {
		return req
	}
	f := m.ProtoReflect().Descriptor().Fields().ByName("request_id")
	if f == nil || f.Kind() != protoreflect.StringKind || m.ProtoReflect().Get(f).String() != "" {
		return req
	}
	copied := proto.Clone(m)
	copied.ProtoReflect().Set(f, protoreflect.ValueOfString(NewRequestID()))
	return copied
}

// What an agent that has too much to do may ask its callers to wait.
const (
	patientTries = 10
	maxPatience  = 5 * time.Second
)

// waitAsTold repeats a call that the agent refused because of its caller's haste,
// when it says so. Nothing was done, so any call may be repeated.
func waitAsTold(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	for try := 1; ; try++ {
		err := invoke(ctx, method, req, reply, cc, opts...)
		if err == nil || try == patientTries || !WaitAsTold(ctx, err) {
			return err
		}
	}
}

// WaitAsTold waits for as long as an agent that refused a call for its caller's
// haste has said, and then returns true; false when it has said nothing, or ctx
// ended. Dial's connections do so by themselves for calls that do not stream.
func WaitAsTold(ctx context.Context, err error) bool {
	e := FromStatus(err)
	if e == nil || e.RetryAfter <= 0 || e.RetryAfter > maxPatience {
		return false
	}
	return pause.For(ctx, e.RetryAfter) == nil
}
