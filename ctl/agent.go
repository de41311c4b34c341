package ctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

// client is a connection to one agent.
type client struct {
	conn  *grpc.ClientConn
	local bool // the agent is on this host
	// moves is told of bytes on their way to one of many agents; unset, a bar shows them.
	moves     func(n int64)
	services  pb.SupervisorServiceClient
	upgrades  pb.UpgradeServiceClient
	artifacts pb.ArtifactServiceClient
	agent     pb.AgentServiceClient
	audit     pb.AuditServiceClient
	rollouts  pb.RolloutServiceClient
}

// connect reaches the one agent that is meant, and learns its host's name, which
// records carry.
func (s *session) connect(ctx context.Context) (*client, error) {
	host, err := s.oneHost(ctx)
	if err != nil {
		return nil, err
	}
	if s.client, err = s.reach(ctx, host); err != nil {
		return nil, err
	}
	s.host = host.Name
	if s.to.inventory != "" || !s.stream || !s.structured() {
		return s.client, nil
	}
	agent, err := s.client.agentInfo(ctx)
	if api.ReasonOf(err) == pb.Reason_REASON_PERMISSION {
		return s.client, nil // its address is all that such a caller may know
	}
	if err != nil {
		return nil, err
	}
	s.host = agent.GetHost()
	return s.client, nil
}

// reach prepares a connection to a host's agent; the caller closes it.
func (s *session) reach(ctx context.Context, host inventory.Host) (*client, error) {
	if err := knock(ctx, host.Address); err != nil {
		return nil, err
	}
	conn, err := s.dial(host)
	if err != nil {
		return nil, err
	}
	return newClient(conn, host), nil
}

func newClient(conn *grpc.ClientConn, host inventory.Host) *client {
	return &client{
		conn:      conn,
		local:     local(host),
		services:  pb.NewSupervisorServiceClient(conn),
		upgrades:  pb.NewUpgradeServiceClient(conn),
		artifacts: pb.NewArtifactServiceClient(conn),
		agent:     pb.NewAgentServiceClient(conn),
		audit:     pb.NewAuditServiceClient(conn),
		rollouts:  pb.NewRolloutServiceClient(conn),
	}
}

// dial prepares the connection: by a local socket, or by mutual TLS.
func (s *session) dial(host inventory.Host) (*grpc.ClientConn, error) {
	limit := grpc.WithChainUnaryInterceptor(limitCall)
	if local(host) {
		return api.Dial(host.Address, limit)
	}
	s.dialled.Do(func() { s.remote = api.NewDialer(s.to.tls) })
	return s.remote.Dial(host.Address, host.AgentID, limit)
}

// local says whether a host is reached without TLS.
func local(host inventory.Host) bool {
	return strings.HasPrefix(host.Address, "unix:") || strings.HasPrefix(host.Address, "/")
}

const turnedAwayWords = "no connection that both sides trust: the agent does not accept your certificate (its log says why), or is not the one that --tls-ca, the host's name or --agent-id stand for: "

// turnedAway says whether one of the two sides did not accept the other's
// certificate: to try again is in vain. gRPC has no code for it.
func turnedAway(err error) bool {
	if status.Code(err) != codes.Unavailable {
		return false
	}
	text := err.Error()
	return strings.Contains(text, "remote error: tls: ") || strings.Contains(text, "authentication handshake failed: tls: ") || strings.Contains(text, "authentication handshake failed: x509: ")
}

// limitCall bounds one question to an agent, so that one that hangs is noticed.
func limitCall(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	const limit = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return invoke(ctx, method, req, reply, cc, opts...)
}

// localSocket is where the agent of this host listens.
func (s *session) localSocket() string {
	if os.Geteuid() == 0 {
		return "unix:" + api.DefaultSocket
	}
	dir := s.stdio.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = filepath.Join("/run/user", strconv.Itoa(os.Getuid()))
	}
	return "unix:" + filepath.Join(dir, "gracefleet", "graced.sock")
}

// knock says within a second why nobody answers at a local socket, better than
// a failed call could.
func knock(ctx context.Context, target string) error {
	path, ok := strings.CutPrefix(target, "unix:")
	if !ok {
		return nil
	}
	path = strings.TrimPrefix(path, "//")
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		return conn.Close()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no agent listens at %s: start it (systemctl start graced, or run graced), or name another with --agent or GRACECTL_AGENT: %w", path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the agent's socket %s is not open to you: become root or join the socket's group: %w", path, err)
	}
	return fmt.Errorf("agent at %s: %w", path, err)
}
