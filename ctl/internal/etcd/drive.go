package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// leaseTTL is how long a service stays a driver's that is heard of no more, as on the
// agents.
const leaseTTL = 15 * time.Second

// IdleLimit is how long it takes at most until a driver that has died is known to have.
const IdleLimit = leaseTTL + callLimit

// Drive is who drives which rollout of a service.
type Drive struct {
	Service  string `json:"service"`
	Rollout  string `json:"rollout"`
	SpecHash string `json:"spec_hash"`
	// Actor is the person, Driver the process: another one for each.
	Actor  string    `json:"actor"`
	Driver string    `json:"driver"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

// HeldError means that somebody else drives a rollout of the service.
type HeldError struct{ By Drive }

func (e *HeldError) Error() string {
	text := fmt.Sprintf("service %s: %s drives rollout %s since %s", e.By.Service, e.By.Actor, e.By.Rollout, e.By.Since.UTC().Format(time.RFC3339))
	if e.By.Reason != "" {
		text += fmt.Sprintf(" (%q)", e.By.Reason)
	}
	return text
}

// Acquire gives the service to one rollout, on whatever hosts, until Release; without
// that for as long as the driver is heard of. It fails with a *HeldError when another
// one has it. takeOver takes it from another driver of the same rollout.
//
// tell hears, in a sentence, that etcd does not answer, that it does again, and that
// somebody else has the service; one call at a time. Nothing of that stops a rollout:
// the agents keep a second driver away.
func (c *Client) Acquire(ctx context.Context, d Drive, takeOver bool, tell func(string)) (*Hold, error) {
	switch {
	case d.Service == "" || d.Rollout == "" || strings.Contains(d.Service+d.Rollout, "/"):
		return nil, fmt.Errorf("rollout %q of service %q: neither is a name", d.Rollout, d.Service)
	case takeOver && d.Reason == "":
		return nil, errors.New("to take a rollout over needs a reason")
	}
	limited, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	lease, err := c.grant(limited)
	if err != nil {
		return nil, err
	}
	epoch, err := c.take(limited, d, lease, takeOver)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
		defer cancel()
		_ = c.revoke(ctx, lease) // if etcd is away it ends by itself
		return nil, err
	}
	return c.hold(ctx, d, lease, epoch, tell), nil
}

// take writes who drives, unless somebody else does. The epoch is the revision of etcd
// that has it: whoever comes later has a later one.
func (c *Client) take(ctx context.Context, d Drive, lease clientv3.LeaseID, takeOver bool) (epoch int64, err error) {
	key := c.place.Prefix + "drivers/" + d.Service
	value, err := json.Marshal(d)
	if err != nil {
		return 0, err
	}
	for {
		now, err := c.get(ctx, key)
		if err != nil {
			return 0, err
		}
		if now.GetLease() == int64(lease) {
			return now.GetModRevision(), nil
		}
		if by := (Drive{Service: d.Service}); now != nil {
			if err := json.Unmarshal(now.GetValue(), &by); err != nil {
				return 0, fmt.Errorf("etcd %s: the key %s is damaged: %w: look at who wrote it, and delete it", strings.Join(c.place.Endpoints, ","), key, err)
			}
			if by.Rollout != d.Rollout || by.Driver != d.Driver && !takeOver {
				return 0, &HeldError{by}
			}
		}
		unchanged := clientv3.Compare(clientv3.ModRevision(key), "=", now.GetModRevision())
		answer, err := c.etcd.Txn(ctx).If(unchanged).Then(clientv3.OpPut(key, string(value), clientv3.WithLease(lease))).Commit()
		if err != nil {
			return 0, failed(c.place, err)
		}
		if answer.Succeeded {
			return answer.Header.Revision, nil
		}
	}
}

func (c *Client) grant(ctx context.Context) (clientv3.LeaseID, error) {
	lease, err := c.etcd.Grant(ctx, int64(c.ttl/time.Second))
	if err != nil {
		return 0, failed(c.place, err)
	}
	return lease.ID, nil
}

func (c *Client) revoke(ctx context.Context, lease clientv3.LeaseID) error {
	if _, err := c.etcd.Revoke(ctx, lease); err != nil {
		return failed(c.place, err)
	}
	return nil
}
