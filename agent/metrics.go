package agent

import (
	"context"
	"net"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/metrics"
	"github.com/gracefleet/gracefleet/agent/internal/server"
)

// openMetrics listens if the configuration says where; nil otherwise.
func openMetrics(ctx context.Context, c Config) (net.Listener, error) {
	if c.Metrics == "" {
		return nil, nil
	}
	return metrics.Listen(ctx, c.Metrics)
}

// serveMetrics shows figures until ctx ends. That nobody sees them is no reason for
// the agent to end.
func (a *agent) serveMetrics(ctx context.Context, l net.Listener, srv *server.Server) {
	err := metrics.Serve(ctx, l, func() metrics.Figures { return a.figures(srv) })
	if err != nil {
		a.degrade("the figures for Prometheus are not shown: " + err.Error())
	}
}

func (a *agent) figures(srv *server.Server) metrics.Figures {
	i, c := a.info(), srv.Counts()
	f := metrics.Figures{
		Version: i.Version, Degraded: len(i.Degraded), Refused: c.Refused,
		Connections: map[string]int{"local": c.Local}, RegistryContact: a.registrar.State().Contact,
	}
	if n := i.Network; n != nil {
		f.NotAfter = map[string]time.Time{"agent": n.NotAfter, "ca": n.CANotAfter, "crl": n.CRLNextUpdate}
		f.RenewContact, f.Connections["network"] = n.RenewContact, c.Network
	}
	return f
}
