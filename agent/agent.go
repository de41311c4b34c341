package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/audit"
	"github.com/gracefleet/gracefleet/agent/internal/cgroup"
	"github.com/gracefleet/gracefleet/agent/internal/fetch"
	"github.com/gracefleet/gracefleet/agent/internal/host"
	"github.com/gracefleet/gracefleet/agent/internal/registry"
	"github.com/gracefleet/gracefleet/agent/internal/server"
	"github.com/gracefleet/gracefleet/agent/internal/socket"
	"github.com/gracefleet/gracefleet/agent/internal/store"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
)

// Run runs an agent until ctx ends. Services live on, unless the configuration
// says that they are to stop with it. It returns nil after such an end.
func Run(ctx context.Context, c Config) error {
	if err := c.complete(); err != nil {
		return err
	}
	a, err := assemble(c)
	if err != nil {
		return err
	}
	defer a.close()
	return a.run(ctx)
}

// agent is everything one agent is made of.
type agent struct {
	config     Config
	log        hclog.Logger
	started    time.Time
	store      *store.Store
	audit      *audit.Log
	runtime    *runtimeDir
	cgroups    *cgroup.Tree
	host       *host.Host
	supervisor *supervisor.Supervisor
	fetcher    *fetch.Fetcher
	rotations  *rotations
	network    *network // nil without one
	registrar  *registry.Registrar

	capabilities []server.Capability

	mu       sync.Mutex
	degraded []string
}

func assemble(c Config) (*agent, error) {
	signed, err := c.signatures()
	if err != nil {
		return nil, err
	}
	fetching, err := c.fetching()
	if err != nil {
		return nil, err
	}
	a := &agent{config: c, log: c.Log, started: time.Now(), rotations: &rotations{log: c.Log}}
	options := c.Limits.options()
	options.OnRotate = a.rotations.report
	if a.store, err = store.Open(c.StateDir, options); err != nil {
		return nil, err
	}
	if err := a.openAudit(); err != nil {
		return nil, errors.Join(err, a.store.Close())
	}
	if a.runtime, err = openRuntimeDir(c.RuntimeDir, a.store.ID()); err != nil {
		return nil, errors.Join(err, a.audit.Close(), a.store.Close())
	}
	cgroups, cgroupErr := cgroup.Open(a.store.ID())
	a.cgroups = cgroups
	if cgroupErr != nil {
		a.log.Info("no cgroups: kills go by process tree, connections are counted by descriptor", "why", cgroupErr)
	}
	a.host, err = host.New(host.Options{Store: a.store, Cgroups: cgroups, RuntimeDir: c.RuntimeDir, ShimBinary: c.ShimBinary, Log: a.log})
	if err != nil {
		return nil, errors.Join(err, a.runtime.close(), a.audit.Close(), a.store.Close())
	}
	a.capabilities = capabilities(cgroupErr)
	a.supervisor = supervisor.New(a.host, a.store, a.log)
	a.supervisor.SetSignatures(signed)
	a.fetcher = fetch.New(a.store, c.Version, fetching)
	a.registrar = registry.New(a.store.ID(), a.log.Named("registry"))
	return a, nil
}

// openAudit opens the record of who did what. Damage to it is told, and is no reason
// not to start.
func (a *agent) openAudit() error {
	repaired := func(text string) { a.log.Warn(text) }
	var err error
	if a.audit, err = audit.Open(filepath.Join(a.config.StateDir, "audit"), audit.Options{OnRepair: repaired}); err != nil {
		return err
	}
	for _, d := range a.audit.Damages() {
		a.degrade(d.Error())
	}
	return nil
}

func (a *agent) close() {
	a.supervisor.Close()
	a.host.Close()
	if a.cgroups != nil {
		_ = os.Remove(string(a.cgroups.Base())) // stays while a service is in it
	}
	if err := errors.Join(a.runtime.close(), a.audit.Close(), a.store.Close()); err != nil {
		a.log.Error("the agent's directories could not be closed", "error", err)
	}
}

func (a *agent) run(ctx context.Context) error {
	if err := a.require(); err != nil {
		return err
	}
	if a.config.Drain {
		return a.drain(ctx)
	}
	l, err := listenLocal(a.config.Socket, a.config.Access.policy().Groups)
	if err != nil {
		return err
	}
	n, err := openNetwork(ctx, a.config)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	figures, err := openMetrics(ctx, a.config)
	if err != nil {
		return errors.Join(err, l.Close(), n.close())
	}
	if n != nil {
		a.fetcher.SetPeers(n.certs)
	}
	policy, err := n.policy(a.config)
	var entry *registry.Entry
	if err == nil {
		entry, err = n.entry(a.config)
	}
	var srv *server.Server
	if err == nil {
		srv = server.New(server.Options{Supervisor: a.supervisor, Store: a.store, Fetcher: a.fetcher, Info: a.info, Policy: policy, Audit: a.audit, Log: a.log.Named("server")})
		a.supervisor.OnForged(srv.Forged)
		err = a.restore(ctx)
	}
	if err != nil {
		if figures != nil {
			figures.Close()
		}
		return errors.Join(err, l.Close(), n.close())
	}
	a.network = n
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(serving, l, n.remote()) }()
	var tidied sync.WaitGroup
	tidied.Go(func() { a.follow(serving, n, srv) })
	tidied.Go(func() { a.housekeeping(serving) })
	a.registrar.Set(entry)
	tidied.Go(func() { a.registrar.Run(serving) })
	if figures != nil {
		tidied.Go(func() { a.serveMetrics(serving, figures, srv) })
	}
	if os.Getpid() == 1 {
		tidied.Go(func() { reapOrphans(serving) })
	}

	a.log.Info("ready", "socket", a.config.Socket, "listen", n.address(), "state_dir", a.config.StateDir, "version", a.config.Version, "pid", os.Getpid())
	notify(a.log, "READY=1\nSTATUS=serving "+a.config.Socket)
	select {
	case err = <-served:
	case <-ctx.Done():
		notify(a.log, "STOPPING=1")
		if a.config.StopServices || os.Getpid() == 1 {
			a.drainAll(context.WithoutCancel(ctx))
		}
		stop()
		err = <-served
	}
	stop()
	tidied.Wait()
	return err
}

// restore takes over what an earlier agent left.
func (a *agent) restore(ctx context.Context) error {
	records, quarantined, err := a.store.LoadRecords()
	if err != nil {
		return err
	}
	for _, q := range quarantined {
		a.degrade(fmt.Sprintf("the record %s was damaged (%s) and set aside as %s", q.Name, q.Reason, q.Path))
	}
	data := make(map[string][]byte, len(records))
	for _, r := range records {
		data[r.Name] = r.Data
	}
	for _, p := range a.supervisor.Restore(ctx, data) {
		a.degrade(p.Error())
	}
	return nil
}

func (a *agent) degrade(why string) {
	a.log.Error("degraded", "why", why)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.degraded = append(a.degraded, why)
}

// drain adopts what runs and drains it.
func (a *agent) drain(ctx context.Context) error {
	if err := a.restore(ctx); err != nil {
		return err
	}
	a.drainAll(ctx)
	return context.Cause(ctx)
}

// drainAll returns once every program has ended, or with ctx.
func (a *agent) drainAll(ctx context.Context) {
	services, err := a.supervisor.List(ctx)
	if err != nil {
		a.log.Error("the services could not be listed", "error", err)
		return
	}
	var all sync.WaitGroup
	for _, st := range services {
		all.Go(func() {
			if err := a.supervisor.Drain(ctx, st.Name); err != nil {
				a.log.Error("a service could not be drained", "service", st.Name, "error", err)
			}
		})
	}
	all.Wait()
}

func (a *agent) info() server.Info {
	a.mu.Lock()
	defer a.mu.Unlock()
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "unknown"
	}
	return server.Info{
		Host: hostname, Version: a.config.Version, StateID: a.store.ID(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Kernel: kernelRelease(), Started: a.started, PID: os.Getpid(), Capabilities: a.capabilities,
		Degraded: slices.Concat(a.degraded, a.network.warnings(), a.unregistered()), StateDir: a.config.StateDir, RuntimeDir: a.config.RuntimeDir,
		Network: a.network.info(),
	}
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func capabilities(cgroupErr error) []server.Capability {
	row := server.Capability{
		Name: "cgroup_v2", Available: cgroupErr == nil, Detail: "a cgroup of its own for each slot and generation",
		Fallback: "kills go by process group and tree; connections are counted by descriptor",
	}
	if cgroupErr != nil {
		row.Detail = cgroupErr.Error()
	}
	out := []server.Capability{row}
	for _, c := range socket.Capabilities(context.Background()) {
		out = append(out, server.Capability{Name: c.Name, Available: c.Available, Detail: c.Detail, Fallback: c.Fallback})
	}
	return out
}

// require refuses a host on which the one thing without a fallback is missing.
func (a *agent) require() error {
	for _, c := range a.capabilities {
		if !c.Available && c.Fallback == "" {
			return fmt.Errorf("this host lacks %s, for which there is no substitute: %s", c.Name, c.Detail)
		}
	}
	return nil
}
