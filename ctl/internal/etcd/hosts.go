package etcd

import (
	"context"
	"strings"
)

// Host is what one host is registered as.
type Host struct {
	// Key in etcd, and what stands after the prefix in it.
	Key, Name string
	// Value is a host of an inventory, as JSON, if whoever wrote it meant well.
	Value []byte
}

// Hosts are those that are registered, by name. More hosts or bytes than that are an
// error.
func (c *Client) Hosts(ctx context.Context, maxHosts, maxBytes int) ([]Host, error) {
	prefix := c.place.Prefix + "hosts/"
	found, err := c.list(ctx, prefix, maxHosts, maxBytes)
	if err != nil {
		return nil, err
	}
	hosts := make([]Host, len(found))
	for i, kv := range found {
		hosts[i] = Host{Key: string(kv.Key), Name: strings.TrimPrefix(string(kv.Key), prefix), Value: kv.Value}
	}
	return hosts, nil
}
