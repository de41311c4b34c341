package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// keptRollouts of each service; older ones are removed.
	keptRollouts = 100
	// What History reads at most.
	maxRecords     = 20_000
	maxRecordBytes = 32 << 20
)

// Record is what became of a rollout.
type Record struct {
	Service  string `json:"service"`
	Rollout  string `json:"rollout"`
	SpecHash string `json:"spec_hash"`
	Actor    string `json:"actor"`
	Reason   string `json:"reason,omitempty"`
	// Begun is when its last driver had it, Ended when that gave it up.
	Begun time.Time `json:"begun"`
	Ended time.Time `json:"ended"`
	// Ending is how it ended, in its driver's word.
	Ending string `json:"ending"`
	// Hosts counts outcomes: upgraded, failed, unreachable...
	Hosts map[string]int `json:"hosts"`
}

// write keeps a record, and of the service's others the newest.
func (c *Client) write(ctx context.Context, r Record) error {
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	prefix := c.place.Prefix + "rollouts/" + r.Service + "/"
	if _, err := c.etcd.Put(ctx, prefix+r.Rollout, string(value)); err != nil {
		return failed(c.place, err)
	}
	all, err := c.etcd.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend))
	if err != nil {
		return failed(c.place, err)
	}
	for _, old := range all.Kvs[min(len(all.Kvs), keptRollouts):] {
		if _, err := c.etcd.Delete(ctx, string(old.Key)); err != nil {
			return failed(c.place, err)
		}
	}
	return nil
}

// History is what became of rollouts, the newest first; of one service, or of all with
// "". With an error, which names what cannot be read, comes what can.
func (c *Client) History(ctx context.Context, service string) ([]Record, error) {
	prefix := c.place.Prefix + "rollouts/"
	if service != "" {
		prefix += service + "/"
	}
	found, err := c.list(ctx, prefix, maxRecords, maxRecordBytes)
	if err != nil {
		return nil, err
	}
	var all []Record
	var damaged []error
	for _, kv := range found {
		var r Record
		err := json.Unmarshal(kv.Value, &r)
		if err == nil && !strings.HasSuffix(string(kv.Key), "/"+r.Service+"/"+r.Rollout) {
			err = fmt.Errorf("it is about rollout %q of %q", r.Rollout, r.Service)
		}
		if err != nil {
			damaged = append(damaged, fmt.Errorf("etcd: the key %s is damaged: %w", kv.Key, err))
			continue
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b Record) int { return b.Ended.Compare(a.Ended) })
	return all, errors.Join(damaged...)
}
