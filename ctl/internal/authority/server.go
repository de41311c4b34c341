package authority

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/ca"
)

// Serve answers for the CA in a directory until ctx ends, then lets calls under way
// finish for a few seconds. It closes the listener and returns nil after such an end.
func Serve(ctx context.Context, dir string, l net.Listener, log hclog.Logger) error {
	defer l.Close()
	a, err := ca.Open(dir)
	if err != nil {
		return err
	}
	o := &own{dir: dir, log: log}
	// What would keep it from answering shows now.
	if _, err := o.certificate(ctx); err != nil {
		return err
	}
	g := grpc.NewServer(append(limits(), grpc.Creds(credentials.NewTLS(o.config())), grpc.UnaryInterceptor(bounded))...)
	pb.RegisterAuthorityServiceServer(g, &service{
		dir: dir, log: log,
		refusals: newQuota(refusalsPerMinute, refusalsWindow), renewals: newQuota(renewalsPerHour, renewalsWindow),
	})
	served := make(chan error, 1)
	go func() { served <- g.Serve(newListener(l)) }()
	log.Info("the CA answers", "listen", l.Addr().String(), "dir", dir, "trust_domain", a.TrustDomain(), "expires", a.Certificate().NotAfter)
	select {
	case err := <-served:
		g.Stop()
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	force := time.AfterFunc(stopTimeout, g.Stop)
	defer force.Stop()
	g.GracefulStop()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	log.Info("the CA answers no longer")
	return nil
}

// bounded keeps a call from waiting for the CA's lock for as long as its caller likes.
func bounded(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return handle(ctx, request)
}
