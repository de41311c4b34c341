package host

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/gracefleet/gracefleet/agent/internal/probe"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/socket"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

// dialsPerProbe bounds the connections of one attempt; gRPC may try again.
const dialsPerProbe = 4

// Probe makes one attempt. Connections reach this slot whatever the weights, and
// no user's connection reaches it because of them.
func (s *slot) Probe(ctx context.Context, p service.Probe, st supervisor.Steering, generation int) error {
	id, err := identify(s.intent.Spec.User)
	if err != nil {
		return err
	}
	target := probe.Target{
		Env: append(probeEnv(s.intent.Service, generation), id.env()...), Dir: s.intent.Spec.WorkingDirectory,
		Credential: id.credential(), Accepted: s.accepted,
	}
	if p.Exec != nil {
		return probe.Run(ctx, p, target)
	}
	l, ok := s.listener(socketOf(p))
	if !ok {
		return fmt.Errorf("the slot has no socket %q", socketOf(p))
	}
	dialer, err := socket.NewProbeDialer(l.Socket.Address, s.paths[l.Socket.Name].kept)
	if err != nil {
		return err
	}
	defer dialer.Close()
	ports, err := dialer.Prepare(dialsPerProbe)
	if err != nil {
		return err
	}
	target.Dial = func(ctx context.Context, _ string) (net.Conn, error) { return dialer.Dial(ctx) }
	return st.(*steering).probe(s.intent.Slot, ports, func() error { return probe.Run(ctx, p, target) })
}

func (s *slot) accepted(ctx context.Context, name string, conn net.Conn) error {
	l, ok := s.listener(name)
	if !ok {
		return errors.New("the slot has no socket " + name)
	}
	return socket.Accepted(ctx, conn, l.File)
}

func socketOf(p service.Probe) string {
	switch {
	case p.HTTP != nil:
		return p.HTTP.Socket
	case p.GRPC != nil:
		return p.GRPC.Socket
	case p.TCP != nil:
		return p.TCP.Socket
	}
	return ""
}
