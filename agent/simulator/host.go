package main

import (
	"context"
	"errors"
	"net"
	"runtime"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/certs"
	"github.com/gracefleet/gracefleet/agent/internal/server"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/simulated"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

const version = "simulated"

// host is one agent of the fleet.
type host struct {
	name       string
	began      time.Time
	listener   net.Listener
	certs      *certs.Keeper
	supervisor *supervisor.Supervisor
	server     *server.Server
}

func (f *fleet) host(ca authority, name string, at net.TCPAddr) (*host, error) {
	files, err := ca.agent(name, at.IP)
	if err != nil {
		return nil, err
	}
	h := &host{name: name, began: time.Now()}
	if h.certs, err = certs.Open(files, f.log); err != nil {
		return nil, err
	}
	if h.listener, err = net.ListenTCP("tcp", &at); err != nil {
		return nil, err
	}
	machine := simulated.New(simulated.Conduct{Ready: f.ready, Drain: f.drain, Fate: f.fateOn(name)}, f.vet)
	h.supervisor = supervisor.New(machine, simulated.NewRecords(f.rollouts), f.log)
	h.server = server.New(server.Options{
		Supervisor: h.supervisor, Store: f.store, Audit: f.audit, Info: h.info, Log: f.log,
		Policy: &access.Policy{TrustDomain: trustDomain},
	})
	return h, nil
}

// fateOn is what becomes of programs on a host. The one that it begins with serves
// in any case.
func (f *fleet) fateOn(name string) func(artifact string) simulated.Fate {
	meant := func(pattern, artifact string) bool {
		return service.Matches([]string{pattern}, name) || service.Matches([]string{pattern}, artifact)
	}
	return func(artifact string) simulated.Fate {
		switch {
		case artifact == f.first:
			return simulated.Serves
		case meant(f.fail, artifact):
			return simulated.Fails
		case meant(f.hang, artifact):
			return simulated.Hangs
		}
		return simulated.Serves
	}
}

// vet looks for an artifact in the store of all.
func (f *fleet) vet(spec service.Spec) (version string, err error) {
	a, err := f.store.GetArtifact(spec.Artifact)
	if err != nil {
		return "", errors.Join(supervisor.ErrArtifactNotFound, err)
	}
	return a.Labels[service.VersionLabel], nil
}

// serve answers until ctx ends.
func (h *host) serve(ctx context.Context) error {
	return h.server.Serve(ctx, newNobody(), &server.Remote{Listener: h.listener, Certificates: h.certs})
}

func (h *host) close() {
	h.listener.Close() // also if it never served
	h.supervisor.Close()
}

var errBegun = errors.New("the service runs")

// begin has the host run its service, and returns when it does.
func (h *host) begin(ctx context.Context, artifact string, soak time.Duration) error {
	at, err := service.ParseAddress("tcp://0.0.0.0:8080")
	if err != nil {
		return err
	}
	spec := service.Spec{
		Name: "web", Artifact: artifact, Sockets: []service.Socket{{Name: "http", Address: at}},
		Readiness: service.Readiness{Probe: service.Probe{Notify: true}},
		Upgrade:   service.Upgrade{Soak: soak, RollbackWindow: service.DefaultRollbackWindow},
		Restart:   service.Restart{Hold: service.DefaultRestartHold}, KeepGenerations: service.DefaultKeepGenerations,
	}
	if _, err := h.supervisor.Apply(ctx, supervisor.ApplyRequest{Spec: spec, Caller: supervisor.Caller{Actor: "simulator"}}); err != nil {
		return err
	}
	err = h.supervisor.Watch(ctx, spec.Name, 0, func(s supervisor.Status, _ string) error {
		if s.Active != 0 && s.Upgrade.State.Ended() {
			return errBegun
		}
		return nil
	})
	if errors.Is(err, errBegun) {
		return nil
	}
	return err
}

func (h *host) info() server.Info {
	f := h.certs.Figures()
	return server.Info{
		Host: h.name, Version: version, StateID: h.name, Platform: runtime.GOOS + "/" + runtime.GOARCH, Started: h.began,
		Network: &server.NetworkInfo{
			Address: h.listener.Addr().String(), Identity: f.Identity, Serial: f.Serial, Issuer: f.Issuer,
			NotBefore: f.NotBefore, NotAfter: f.NotAfter, CANotAfter: f.CANotAfter, CRLNextUpdate: f.CRLNextUpdate,
		},
	}
}

// nobody is a local socket on which nobody ever calls: it takes no descriptor.
type nobody struct {
	ctx   context.Context //nolint:containedctx // its end is the listener's
	close context.CancelFunc
}

func newNobody() *nobody {
	ctx, cancel := context.WithCancel(context.Background())
	return &nobody{ctx, cancel}
}

// Accept waits for the end.
func (n *nobody) Accept() (net.Conn, error) {
	<-n.ctx.Done()
	return nil, net.ErrClosed
}

// Close ends Accept.
func (n *nobody) Close() error {
	n.close()
	return nil
}

// Addr is that of a unix socket without a name.
func (n *nobody) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }
