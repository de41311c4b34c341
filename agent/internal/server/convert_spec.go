package server

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// spec reads, completes and validates a specification.
func (c *checker) spec(name string, m *pb.ServiceSpec) service.Spec {
	if m == nil {
		c.add("spec", "is missing")
		return service.Spec{}
	}
	before := len(c.violations)
	s := c.fromSpec(name, m).WithDefaults()
	if len(c.violations) > before {
		// What could not be read would be reported a second time.
		return s
	}
	var invalid *service.InvalidError
	if errors.As(s.Validate(), &invalid) {
		c.violations = append(c.violations, invalid.Violations...)
	}
	return s
}

func (c *checker) fromSpec(name string, m *pb.ServiceSpec) service.Spec {
	s := service.Spec{
		Name: name, Artifact: m.GetArtifact(), Command: slices.Clone(m.GetCommand()), Args: slices.Clone(m.GetArgs()),
		Files: maps.Clone(m.GetFiles()), Credentials: maps.Clone(m.GetCredentials()), EnvFile: m.GetEnvFile(),
		Env: maps.Clone(m.GetEnv()), User: m.GetUser(), WorkingDirectory: m.GetWorkingDirectory(),
		Preset:   m.GetPreset(),
		Handover: service.Handover{Dialect: m.GetHandover().GetDialect(), Env: maps.Clone(m.GetHandover().GetEnv())},
		Sockets:  c.fromSockets(m.GetSockets()),
		Readiness: service.Readiness{
			Timeout: c.positive("ready.timeout", m.GetReadiness().GetTimeout()),
			Probe:   c.fromProbe("ready", m.GetReadiness().GetProbe()),
		},
		Upgrade: c.fromUpgrade(m.GetUpgrade()), Drain: c.fromDrain(m.GetDrain()), Restart: c.fromRestart(m.GetRestart()),
		KeepGenerations: service.DefaultKeepGenerations,
	}
	if m.KeepGenerations != nil {
		s.KeepGenerations = int(m.GetKeepGenerations())
	}
	return s
}

func (c *checker) fromSockets(list []*pb.Socket) []service.Socket {
	if len(list) > service.MaxSockets {
		c.add("sockets", fmt.Sprintf("%d sockets: at most %d", len(list), service.MaxSockets))
		return nil
	}
	var out []service.Socket
	for i, m := range list {
		a, err := service.ParseAddress(m.GetListen())
		c.failed(fmt.Sprintf("sockets[%d].listen", i), err)
		a.V6Only, a.Device = m.GetV6Only(), m.GetDevice()
		out = append(out, service.Socket{
			Name: m.GetName(), Address: a, Backlog: int(m.GetBacklog()), Mode: clonePointer(m.Mode), FreeBind: m.GetFreebind(),
		})
	}
	return out
}

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

func (c *checker) fromProbe(field string, m *pb.Probe) service.Probe {
	var p service.Probe
	switch k := m.GetKind().(type) {
	case *pb.Probe_Notify:
		p.Notify = true
	case *pb.Probe_Http:
		h := k.Http
		p.HTTP = &service.HTTPProbe{
			Socket: h.GetSocket(), Scheme: h.GetScheme(), Host: h.GetHost(), Path: h.GetPath(),
			Status: int(h.GetStatus()), TLS: fromTLS(h.GetTls()),
		}
	case *pb.Probe_Grpc:
		p.GRPC = &service.GRPCProbe{Socket: k.Grpc.GetSocket(), Service: k.Grpc.GetService(), TLS: fromTLS(k.Grpc.GetTls())}
	case *pb.Probe_Tcp:
		p.TCP = &service.TCPProbe{Socket: k.Tcp.GetSocket(), TLS: fromTLS(k.Tcp.GetTls())}
	case *pb.Probe_Exec:
		p.Exec = &service.ExecProbe{Command: slices.Clone(k.Exec.GetCommand())}
	case *pb.Probe_AliveFor:
		p.AliveFor = c.positive(field+".alive_for", k.AliveFor)
	case *pb.Probe_ParentSignal:
		p.ParentSignal = true
	}
	return p
}

func fromTLS(m *pb.TlsProbe) *service.TLSProbe {
	if m == nil {
		return nil
	}
	return &service.TLSProbe{ServerName: m.GetServerName(), CA: m.GetCa(), SkipVerify: m.GetSkipVerify()}
}

func toSpec(s service.Spec) *pb.ServiceSpec {
	m := &pb.ServiceSpec{
		Artifact: s.Artifact, Command: slices.Clone(s.Command), Args: slices.Clone(s.Args), Env: maps.Clone(s.Env),
		Files: maps.Clone(s.Files), Credentials: maps.Clone(s.Credentials), EnvFile: s.EnvFile, User: s.User, WorkingDirectory: s.WorkingDirectory, Preset: s.Preset,
		Handover:  &pb.Handover{Dialect: s.Handover.Dialect, Env: maps.Clone(s.Handover.Env)},
		Readiness: &pb.Readiness{Timeout: durationpb.New(s.Readiness.Timeout), Probe: toProbe(s.Readiness.Probe)},
		Upgrade:   toUpgradePolicy(s.Upgrade), Drain: toDrainPolicy(s.Drain), Restart: toRestartPolicy(s.Restart),
	}
	keep := count(s.KeepGenerations)
	m.KeepGenerations = &keep
	for _, x := range s.Sockets {
		m.Sockets = append(m.Sockets, &pb.Socket{
			Name: x.Name, Listen: x.Address.String(), Backlog: count(x.Backlog), Mode: clonePointer(x.Mode),
			V6Only: x.Address.V6Only, Freebind: x.FreeBind, Device: x.Address.Device,
		})
	}
	return m
}

func toProbe(p service.Probe) *pb.Probe {
	switch {
	case p.Notify:
		return &pb.Probe{Kind: &pb.Probe_Notify{Notify: &pb.NotifyProbe{}}}
	case p.HTTP != nil:
		h := p.HTTP
		return &pb.Probe{Kind: &pb.Probe_Http{Http: &pb.HttpProbe{
			Socket: h.Socket, Scheme: h.Scheme, Host: h.Host, Path: h.Path, Status: count(h.Status), Tls: toTLS(h.TLS),
		}}}
	case p.GRPC != nil:
		return &pb.Probe{Kind: &pb.Probe_Grpc{Grpc: &pb.GrpcProbe{Socket: p.GRPC.Socket, Service: p.GRPC.Service, Tls: toTLS(p.GRPC.TLS)}}}
	case p.TCP != nil:
		return &pb.Probe{Kind: &pb.Probe_Tcp{Tcp: &pb.TcpProbe{Socket: p.TCP.Socket, Tls: toTLS(p.TCP.TLS)}}}
	case p.Exec != nil:
		return &pb.Probe{Kind: &pb.Probe_Exec{Exec: &pb.ExecProbe{Command: slices.Clone(p.Exec.Command)}}}
	case p.ParentSignal:
		return &pb.Probe{Kind: &pb.Probe_ParentSignal{ParentSignal: &pb.ParentSignalProbe{}}}
	case p.AliveFor != 0:
		return &pb.Probe{Kind: &pb.Probe_AliveFor{AliveFor: durationpb.New(p.AliveFor)}}
	default:
		return nil
	}
}

func toTLS(t *service.TLSProbe) *pb.TlsProbe {
	if t == nil {
		return nil
	}
	return &pb.TlsProbe{ServerName: t.ServerName, Ca: t.CA, SkipVerify: t.SkipVerify}
}
