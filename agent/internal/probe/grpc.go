package probe

import (
	"context"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

func runGRPC(ctx context.Context, p service.GRPCProbe, t Target) error {
	const what = "grpc health check"
	creds := insecure.NewCredentials()
	if p.TLS != nil {
		c, err := tlsConfig(p.TLS, "")
		if err != nil {
			return cause(ctx, what, err)
		}
		creds = credentials.NewTLS(c)
	}
	var d lastError
	conn, err := grpc.NewClient("passthrough:///localhost",
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := t.Dial(ctx, p.Socket)
			d.set(err)
			return c, err
		}),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
	)
	if err != nil {
		return cause(ctx, what, err)
	}
	defer conn.Close()
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: p.Service})
	if err != nil {
		return cause(ctx, what, grpcError(err, d.get()))
	}
	if st := resp.GetStatus(); st != healthpb.HealthCheckResponse_SERVING {
		return &failure{what: what, err: errors.New(st.String())}
	}
	return nil
}

// grpcError prefers why the dial failed to what gRPC makes of it.
func grpcError(err, dial error) error {
	if dial != nil {
		return dial
	}
	st := status.Convert(err)
	switch st.Code() {
	case codes.Unimplemented:
		return errors.New("the server has no grpc.health.v1 service")
	case codes.NotFound:
		return errors.New("the server's health service does not know this service: " + st.Message())
	}
	return errors.New(st.Message())
}

// lastError passes an error from gRPC's dialling goroutine.
type lastError struct {
	mu  sync.Mutex
	err error
}

func (l *lastError) set(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *lastError) get() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
