package agent

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/agent/internal/store"
)

const (
	// tidyEvery is rare enough not to be felt by an idle host.
	tidyEvery = time.Hour
	// collectAfter leaves time between a push and the upgrade that uses it.
	collectAfter = 24 * time.Hour
)

// housekeeping removes artifacts that nobody can return to.
func (a *agent) housekeeping(ctx context.Context) {
	t := time.NewTicker(tidyEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			a.collect()
		case <-ctx.Done():
			return
		}
	}
}

func (a *agent) collect() {
	removed, err := a.store.CollectArtifacts(a.supervisor.Artifacts(), collectAfter)
	if err != nil {
		a.log.Warn("artifacts could not be collected", "error", err)
	}
	for _, d := range removed {
		a.log.Info("artifact collected", "artifact", d)
	}
}

// rotations tells about logs that were cut.
type rotations struct{ log hclog.Logger }

func (r *rotations) report(x store.Rotation) {
	switch {
	case x.Err != nil:
		r.log.Warn("a log could not be rotated", "service", x.Service, "generation", x.Generation, "error", x.Err)
	case x.Lossy:
		r.log.Warn("a log was cut with a loss: the filesystem cannot collapse ranges", "service", x.Service, "generation", x.Generation, "bytes", x.Cut)
	default:
		r.log.Debug("a log was cut", "service", x.Service, "generation", x.Generation, "bytes", x.Cut)
	}
}
