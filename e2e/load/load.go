package load

import (
	"context"
	"net"
	"sync"
)

// Load is a running load. Its methods may be called from several goroutines.
type Load struct {
	cfg              Config
	network, address string
	dialer           net.Dialer
	cancel           context.CancelFunc
	running          sync.WaitGroup
	record           *record
}

// Run starts the load; it goes on until ctx ends or Stop is called.
func Run(ctx context.Context, cfg Config) *Load {
	cfg = cfg.withDefaults()
	ctx, cancel := context.WithCancel(ctx)
	l := &Load{cfg: cfg, cancel: cancel, record: newRecord(cfg)}
	l.network, l.address = cfg.target()
	context.AfterFunc(ctx, l.record.stop)
	if cfg.Fresh > 0 {
		l.running.Go(func() { l.fresh(ctx) })
	}
	if cfg.KeepAlive > 0 {
		l.running.Go(func() { l.keepAlive(ctx) })
	}
	return l
}

// Snapshot returns the figures so far.
func (l *Load) Snapshot() Snapshot { return l.record.snapshot() }

// Stop sends nothing more, waits for the answers under way, at most for the
// request timeout, and returns the final figures.
func (l *Load) Stop() Snapshot {
	l.record.stop()
	l.cancel()
	l.running.Wait()
	return l.record.snapshot()
}
