package runner

import (
	"context"
	"sync"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// heedEvery is how often the host is asked where operators are heard.
const heedEvery = 2 * time.Second

// lease renews the driver's lease for as long as it is wanted.
func (t *task) lease(ctx context.Context) error {
	every := t.o.Lease / 3
	if t.Listens {
		every = min(every, heedEvery)
	}
	for {
		report, err := t.renew(ctx)
		if err != nil {
			return err
		}
		t.update(ctx, report)
		if err := pause.For(ctx, every); err != nil {
			return nil
		}
	}
}

// leaveLimit bounds how long a driver that leaves takes over that.
const leaveLimit = 500 * time.Millisecond

// leave ends the leases of a driver that goes before its rollout has ended, so that nobody
// takes it for there or waits for it: those that it keeps, and those that came with claims
// a moment ago. Those that cannot be told so end by themselves.
func (d *drive) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveLimit)
	defer cancel()
	var all sync.WaitGroup
	for name, h := range d.hosts {
		if h.mayLease(d.o.Lease) {
			t := &task{Runner: d.Runner, Effect: rollout.Effect{Kind: rollout.Lease, Host: name}, host: h}
			all.Go(func() { t.endLease(ctx) })
		}
	}
	all.Wait()
}

func (t *task) endLease(ctx context.Context) {
	_ = t.reach(ctx, func(ctx context.Context, c *conn) error {
		_, err := pb.NewRolloutServiceClient(c).RenewRollout(ctx, &pb.RenewRolloutRequest{Driver: t.driver(), End: true})
		return err
	})
}

func (t *task) renew(ctx context.Context) (*pb.RolloutReport, error) {
	report, err := t.call(ctx, func(ctx context.Context, c pb.RolloutServiceClient) (*pb.RolloutReport, error) {
		answer, err := c.RenewRollout(ctx, &pb.RenewRolloutRequest{Driver: t.driver()})
		return answer.GetReport(), err
	})
	if err == nil {
		t.leases()
	}
	return report, err
}
