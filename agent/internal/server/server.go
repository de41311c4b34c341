package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// Options are what a server works with; all are required.
type Options struct {
	Supervisor Supervisor
	Store      Store
	Fetcher    Fetcher
	// Info describes the agent; it is called for each request for it.
	Info func() Info
	// Policy says who may do what, until SetPolicy says otherwise.
	Policy *access.Policy
	// Audit takes what is done and what is refused.
	Audit Audit
	Log   hclog.Logger
}

// Server answers the agent's gRPC calls.
type Server struct {
	supervisor Supervisor
	store      Store
	fetcher    Fetcher
	info       func() Info
	record     *record
	log        hclog.Logger
	owner      uint32 // whoever the agent runs as

	// stopping ends when the server does; streams end with it.
	stopping context.Context
	stop     context.CancelFunc
	rule     atomic.Pointer[reign]
	remote   atomic.Pointer[remoteCredentials]

	gate       *gate // of the local socket
	network    *gate
	handshakes *gate
	uploads    *gate
	readers    *gate // of the audit record
	agents     *gate // of agents that fetch
	tickets    *tickets
	accounts   *accounts
	refused    atomic.Uint64 // handshakes
}

// reign is the time in which one policy holds.
type reign struct {
	policy *access.Policy
	over   context.Context
	end    context.CancelFunc
}

// New prepares a server; Serve starts it.
func New(o Options) *Server {
	s := &Server{
		supervisor: o.Supervisor, store: o.Store, fetcher: o.Fetcher, info: o.Info, record: newRecord(o.Audit, o.Log.Named("audit")), log: o.Log, owner: uint32(os.Geteuid()),
		gate:       newGate(maxConnections, maxConnectionsPerUser),
		network:    newGate(maxRemoteConnections, maxConnectionsPerCert),
		handshakes: newGate(maxHandshakes, maxHandshakesPerSource),
		uploads:    newGate(maxUploads, maxUploadsPerCaller),
		readers:    newGate(maxAuditReaders, maxAuditReadersPerCaller),
		agents:     newGate(maxAgentConnections, maxConnectionsPerAgent),
		tickets:    newTickets(),
		accounts:   newAccounts(),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.SetPolicy(o.Policy)
	return s
}

// SetPolicy changes who may do what, from the next call on. Calls that stream are
// ended, to be asked for again.
func (s *Server) SetPolicy(p *access.Policy) {
	r := &reign{policy: p}
	r.over, r.end = context.WithCancel(context.Background())
	if old := s.rule.Swap(r); old != nil {
		old.end()
	}
	s.Recheck()
}

// Recheck ends the connections over the network whose certificates no longer
// count.
func (s *Server) Recheck() {
	if c := s.remote.Load(); c != nil {
		c.closeUntrusted()
	}
}

// Policy is the one that holds now. It is not changed.
func (s *Server) Policy() *access.Policy { return s.rule.Load().policy }

// era ends with the policy that holds now.
func (s *Server) era() context.Context { return s.rule.Load().over }

// Serve answers on a unix socket, and on the network if remote is not nil, until
// ctx ends, then lets calls under way finish for a few seconds; watches and
// followed logs end at once, with UNAVAILABLE. It closes the listeners, returns nil
// after such an end, and is called once.
func (s *Server) Serve(ctx context.Context, local net.Listener, remote *Remote) error {
	defer s.stop()
	if _, ok := local.Addr().(*net.UnixAddr); !ok {
		return errors.Join(fmt.Errorf("serve %s: it is not a unix socket", local.Addr()), local.Close())
	}
	alive := health.NewServer()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 2)
	serving := 1
	go func() {
		served <- s.serve(ctx, local, &peerCredentials{s, newQuietLog(s.log)}, keepalive.ServerParameters{}, alive)
	}()
	if remote != nil {
		serving++
		d := newSeeds(s, remote.Listener.Addr())
		var seeding sync.WaitGroup
		seeding.Go(d.serve)
		defer seeding.Wait()
		defer d.close()
		c := newRemoteCredentials(s, remote.Certificates, d)
		s.remote.Store(c)
		go func() {
			served <- s.serve(ctx, remote.Listener, c, keepalive.ServerParameters{MaxConnectionAge: maxRemoteConnectionAge, MaxConnectionAgeGrace: maxRemoteConnectionAge}, alive)
		}()
	}
	var errs []error
	for range serving {
		errs = append(errs, <-served)
		cancel() // one without the other is no agent
	}
	return errors.Join(errs...)
}

// serve answers on one listener until ctx ends.
func (s *Server) serve(ctx context.Context, l net.Listener, c credentials.TransportCredentials, k keepalive.ServerParameters, alive *health.Server) error {
	g := grpc.NewServer(append(limits(k), grpc.Creds(c), grpc.InTapHandle(s.tap), grpc.StatsHandler(&meetings{s}),
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream))...)
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
	pb.RegisterAuditServiceServer(g, &auditService{server: s, log: s.record.log})
	pb.RegisterArtifactServiceServer(g, &artifactService{server: s, store: s.store, fetcher: s.fetcher, users: s.supervisor.ArtifactUsers})
	pb.RegisterSupervisorServiceServer(g, &supervisorService{server: s, supervisor: s.supervisor, store: s.store, statuses: &statusMessages{last: map[string]statusMessage{}}})
	pb.RegisterUpgradeServiceServer(g, &upgradeService{server: s, supervisor: s.supervisor})
	pb.RegisterRolloutServiceServer(g, &rolloutService{server: s, supervisor: s.supervisor})
	healthpb.RegisterHealthServer(g, alive)
}

// shutdown ends the server gracefully, and what is left by force.
func shutdown(g *grpc.Server) {
	force := time.AfterFunc(stopTimeout, g.Stop)
	defer force.Stop()
	g.GracefulStop()
}
