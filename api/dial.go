package api

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// DefaultSocket is where an agent that runs as root listens.
const DefaultSocket = "/run/gracefleet/graced.sock"

// MaxChunk is the most bytes that one message of an upload may carry.
const MaxChunk = 512 << 10

// MaxAnswer is the largest message in bytes that an agent sends.
const MaxAnswer = 16 << 20

// readBuffer is as large as answers usually are; larger ones are read past it.
const readBuffer = 4 << 10

// Dial prepares a connection to the agent at a target, "unix:PATH" or
// "unix:///PATH". It does not wait for the agent: the first call does, and
// fails with UNAVAILABLE when there is none. Options come after the defaults.
// The connection is safe for concurrent use; the caller closes it.
func Dial(target string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	path, err := socketPath(target)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("unix:"+path, append(defaults(), options...)...)
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", target, err)
	}
	return conn, nil
}

// socketPath is the path of a unix target.
func socketPath(target string) (string, error) {
	path, ok := strings.CutPrefix(target, "unix:")
	if !ok {
		return "", fmt.Errorf("agent %q: it is no path of a local socket: use unix:PATH, such as unix:%s", target, DefaultSocket)
	}
	if rest, ok := strings.CutPrefix(path, "//"); ok {
		path = rest
		if !strings.HasPrefix(path, "/") {
			return "", fmt.Errorf("agent %q: after unix:// comes an absolute path, such as unix://%s", target, DefaultSocket)
		}
	}
	if path == "" || strings.ContainsAny(path, "\x00?#%") {
		return "", fmt.Errorf("agent %q: %q is not fit for the path of a socket", target, path)
	}
	return path, nil
}

func defaults() []grpc.DialOption {
	return []grpc.DialOption{
		// The socket never leaves the host; its mode and the peer's credentials
		// decide who gets in.
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(RetryServiceConfig),
		grpc.WithChainUnaryInterceptor(ensureRequestID, waitAsTold),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxAnswer)),
		// Most connections of a client wait: a thousand would have 32 MiB for that.
		grpc.WithReadBufferSize(readBuffer),
		// Above the server's enforcement minimum of 10 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		// An agent that restarts is away for some 100 ms.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	}
}
