package runner

import (
	"context"
	"sync"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// judge looks at one host while it soaks, and has it promoted or turned away. It has one
// caller.
type judge struct {
	t    *task // its own: the watch has another
	ctx  context.Context
	stop context.CancelFunc // nil while it does not look
	work sync.WaitGroup
}

func (t *task) newJudge(ctx context.Context) *judge {
	own := &task{Runner: t.Runner, Effect: t.Effect, host: t.host, silent: true}
	return &judge{t: own, ctx: ctx}
}

// see begins and ends to look, as the host is.
func (j *judge) see(r *pb.RolloutReport) {
	if j.t.Kind != rollout.Upgrade || len(j.t.spec.Policy.Checks) == 0 || r == nil {
		return
	}
	soaks := r.GetProgress() == pb.RolloutReport_PROGRESS_SOAKING
	switch {
	case soaks && j.stop == nil:
		ctx, stop := context.WithCancel(j.ctx)
		j.stop = stop
		j.work.Go(func() { j.t.judge(ctx) })
	case !soaks:
		j.end()
	}
}

// end ends to look, and waits for that.
func (j *judge) end() {
	if j.stop != nil {
		j.stop()
		j.stop = nil
	}
	j.work.Wait()
}

// judge decides, and has the agent do it, until ctx ends: the watch sees that it did.
func (t *task) judge(ctx context.Context) {
	step, reason := pb.AdvanceRolloutRequest_STEP_PROMOTE, ""
	if failed := t.examine(ctx); failed != nil {
		step, reason = pb.AdvanceRolloutRequest_STEP_REJECT, failed.Error()
	}
	for ctx.Err() == nil {
		_, _ = t.advance(ctx, step, reason) // why not, the watch and the lease tell
		_ = pause.For(ctx, again)
	}
}
