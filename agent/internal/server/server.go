package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// Options are what a server works with; all are required.
type Options struct {
	Supervisor Supervisor
	Store      Store
	// Info describes the agent; it is called for each request for it.
	Info func() Info
	Log  hclog.Logger
}

// Server answers the agent's gRPC calls.
type Server struct {
	supervisor Supervisor
	store      Store
	info       func() Info
	log        hclog.Logger

	// stopping ends when the server does; streams end with it.
	stopping context.Context
	stop     context.CancelFunc
	gate     *gate
}

// New prepares a server; Serve starts it.
func New(o Options) *Server {
	s := &Server{
		supervisor: o.Supervisor, store: o.Store, info: o.Info, log: o.Log,
		gate: newGate(maxConnections, maxConnectionsPerUser),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	return s
}

// Serve answers on a unix socket until ctx ends, then lets calls under way
// finish for a few seconds; watches and followed logs end at once, with
// UNAVAILABLE. It closes the listener, returns nil after such an end, and is
// called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer s.stop()
	credentials, err := s.credentials(l)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	g := grpc.NewServer(append(limits(), grpc.Creds(credentials), grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream))...)
	alive := health.NewServer()
	s.register(g, alive)

	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	select {
	case err := <-served:
		g.Stop()
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	alive.Shutdown()
	s.stop()
	shutdown(g)
	if err := <-served; !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil // told to end before it had begun
}

func (s *Server) register(g *grpc.Server, alive *health.Server) {
	pb.RegisterAgentServiceServer(g, &agentService{server: s})
	pb.RegisterArtifactServiceServer(g, &artifactService{store: s.store, users: s.supervisor.ArtifactUsers})
	pb.RegisterSupervisorServiceServer(g, &supervisorService{supervisor: s.supervisor, store: s.store})
	pb.RegisterUpgradeServiceServer(g, &upgradeService{supervisor: s.supervisor})
	healthpb.RegisterHealthServer(g, alive)
}

// shutdown ends the server gracefully, and what is left by force.
func shutdown(g *grpc.Server) {
	force := time.AfterFunc(stopTimeout, g.Stop)
	defer force.Stop()
	g.GracefulStop()
}

// credentials are those of the socket's owner and group.
func (s *Server) credentials(l net.Listener) (*peerCredentials, error) {
	address, ok := l.Addr().(*net.UnixAddr)
	if !ok {
		return nil, fmt.Errorf("serve %s: only unix sockets are supported yet", l.Addr())
	}
	info, err := os.Stat(address.Name)
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", address.Name, err)
	}
	c := &peerCredentials{owner: uint32(os.Geteuid()), gate: s.gate}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		c.group = st.Gid
	}
	return c, nil
}
