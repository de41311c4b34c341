package spec

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// ToProto converts the file to the API's specification. Artifact is the digest
// or host path that stands for the file's; files are the digests of Files by name.
func (f *File) ToProto(artifact string, files map[string]string) *pb.ServiceSpec {
	s := &pb.ServiceSpec{
		Artifact:         artifact,
		Command:          f.Command,
		Args:             f.Args,
		Env:              f.Env,
		User:             f.User,
		WorkingDirectory: f.WorkingDirectory,
		KeepGenerations:  f.KeepGenerations,
		Preset:           f.Preset,
		EnvFile:          f.EnvFile,
		Files:            files,
		Credentials:      f.Credentials,
		Upgrade:          f.Upgrade.proto(),
		Drain:            f.Drain.proto(),
		Restart:          f.Restart.proto(),
	}
	if f.Handover != nil {
		s.Handover = &pb.Handover{Dialect: f.Handover.Dialect, Env: f.Handover.Env}
	}
	if f.Ready != nil {
		s.Readiness = &pb.Readiness{Timeout: duration(f.Ready.Timeout), Probe: f.Ready.Probe.proto()}
	}
	for _, k := range f.Sockets {
		s.Sockets = append(s.Sockets, &pb.Socket{
			Name: k.Name, Listen: k.Listen, Backlog: k.Backlog, Mode: k.Mode,
			V6Only: k.V6Only, Freebind: k.FreeBind, Device: k.Device,
		})
	}
	return s
}

func duration(d *time.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	return durationpb.New(*d)
}

func (p *Probe) proto() *pb.Probe {
	switch {
	case p == nil:
		return nil
	case p.Notify:
		return &pb.Probe{Kind: &pb.Probe_Notify{Notify: &pb.NotifyProbe{}}}
	case p.ParentSignal:
		return &pb.Probe{Kind: &pb.Probe_ParentSignal{ParentSignal: &pb.ParentSignalProbe{}}}
	case p.AliveFor != nil:
		return &pb.Probe{Kind: &pb.Probe_AliveFor{AliveFor: durationpb.New(*p.AliveFor)}}
	case p.GRPC != nil:
		return &pb.Probe{Kind: &pb.Probe_Grpc{Grpc: &pb.GrpcProbe{
			Socket: p.GRPC.Socket, Service: p.GRPC.Service, Tls: p.GRPC.TLS.proto(),
		}}}
	case p.TCP != nil:
		return &pb.Probe{Kind: &pb.Probe_Tcp{Tcp: &pb.TcpProbe{Socket: p.TCP.Socket, Tls: p.TCP.TLS.proto()}}}
	case p.Exec != nil:
		return &pb.Probe{Kind: &pb.Probe_Exec{Exec: &pb.ExecProbe{Command: p.Exec.Command}}}
	}
	h := p.HTTP
	return &pb.Probe{Kind: &pb.Probe_Http{Http: &pb.HttpProbe{
		Socket: h.Socket, Scheme: h.Scheme, Host: h.Host, Path: h.Path, Status: h.Status, Tls: h.TLS.proto(),
	}}}
}

func (t *TLS) proto() *pb.TlsProbe {
	if t == nil {
		return nil
	}
	return &pb.TlsProbe{ServerName: t.ServerName, Ca: t.CA, SkipVerify: t.SkipVerify}
}

func (u *Upgrade) proto() *pb.UpgradePolicy {
	if u == nil {
		return nil
	}
	p := &pb.UpgradePolicy{
		Steps:          StepsProto(u.Steps),
		Hold:           duration(u.Hold),
		MinConnections: u.MinConnections,
		StepTimeout:    duration(u.StepTimeout),
		Soak:           duration(u.Soak),
		RollbackWindow: duration(u.RollbackWindow),
		Overlap:        u.Overlap,
		OverlapLimit:   duration(u.OverlapLimit),
	}
	if c := u.Check; c != nil {
		p.Check = &pb.Check{Probe: c.Probe.proto(), Interval: duration(c.Interval), Failures: c.Failures}
	}
	return p
}

// StepsProto converts canary steps.
func StepsProto(steps []Step) []*pb.CanaryStep {
	var out []*pb.CanaryStep
	for _, s := range steps {
		out = append(out, &pb.CanaryStep{Weight: s.Weight, Manual: s.Manual})
	}
	return out
}

func (d *Drain) proto() *pb.DrainPolicy {
	if d == nil {
		return nil
	}
	return &pb.DrainPolicy{
		Mode: d.Mode, Patience: duration(d.Patience), Nudge: duration(d.Nudge), Signal: d.Signal,
		Timeout: duration(d.Timeout), MaxGenerations: d.MaxGenerations, AtDeadline: d.AtDeadline,
	}
}

func (r *Restart) proto() *pb.RestartPolicy {
	if r == nil {
		return nil
	}
	return &pb.RestartPolicy{
		Policy: r.Policy, Backoff: duration(r.Backoff), MaxBackoff: duration(r.MaxBackoff), Hold: duration(r.Hold),
	}
}
