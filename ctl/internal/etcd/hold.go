package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Hold is a service in the hand of a driver.
type Hold struct {
	client *Client
	drive  Drive
	epoch  int64
	stop   context.CancelFunc
	ended  chan struct{}

	lease clientv3.LeaseID // keep's until it has ended
}

// Epoch is later than that of everybody who had the service before: the least one to
// claim hosts with.
func (h *Hold) Epoch() int64 { return h.epoch }

func (c *Client) hold(ctx context.Context, d Drive, lease clientv3.LeaseID, epoch int64, tell func(string)) *Hold {
	// A driver that is told to end still needs it until it has.
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	h := &Hold{client: c, drive: d, epoch: epoch, lease: lease, stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(h.ended)
		h.keep(ctx, tell)
	}()
	return h
}

// keep renews the lease until somebody else has the service, or ctx ends.
func (h *Hold) keep(ctx context.Context, tell func(string)) {
	t := time.NewTicker(h.client.ttl / 3)
	defer t.Stop()
	away := false
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		err := h.renew(ctx)
		var held *HeldError
		switch {
		case ctx.Err() != nil:
			return
		case errors.As(err, &held):
			tell(fmt.Sprintf("%v: the hosts of this one stay claimed, it goes on", held))
			return
		case err != nil && !away:
			tell(fmt.Sprintf("%v: the rollout goes on without it, the hosts themselves keep other drivers away", err))
		case err == nil && away:
			tell(fmt.Sprintf("etcd answers again: service %s is this rollout's", h.drive.Service))
		}
		away = err != nil
	}
}

// renew also takes the service again: an etcd that was away may have ended the lease.
func (h *Hold) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	_, err := h.client.etcd.KeepAliveOnce(ctx, h.lease)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		h.lease, err = h.client.grant(ctx)
	} else if err != nil {
		err = failed(h.client.place, err)
	}
	if err != nil {
		return err
	}
	_, err = h.client.take(ctx, h.drive, h.lease, false)
	return err
}

// Release gives the service up, and says what became of the rollout unless that is nil.
// The service is given up also when that cannot be written, and when ctx has ended.
func (h *Hold) Release(ctx context.Context, r *Record) error {
	h.stop()
	<-h.ended
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer cancel()
	var err error
	if r != nil {
		err = h.client.write(ctx, *r)
	}
	return errors.Join(err, h.client.revoke(ctx, h.lease))
}
