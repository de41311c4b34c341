package fetch

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gracefleet/gracefleet/ctl/internal/etcd"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/internal/identity"
)

// registry is what agents have registered in an etcd. Who writes there decides which
// hosts there are, where, and what they are labelled, but not which agents may pose as
// them: each must have the identity of its name.
type registry struct {
	place  etcd.Place
	access etcd.Access
}

func (r registry) Read(ctx context.Context) (*inventory.Inventory, error) {
	found, err := r.registered(ctx)
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	var hosts []inventory.Host
	var bad []error
	for _, f := range found {
		h, err := parseRegistered(f)
		if err != nil {
			bad = append(bad, fmt.Errorf("inventory %s: %w", r.place, err))
			continue
		}
		hosts = append(hosts, h)
	}
	const few = 10
	if len(bad) > few {
		bad = append(bad[:few], fmt.Errorf("and %d more like this", len(bad)-few))
	}
	if len(bad) > 0 {
		return nil, errors.Join(append(bad, errors.New("mend what has written that, or remove it: etcdctl del KEY"))...)
	}
	if err := differ(hosts); err != nil {
		return nil, fmt.Errorf("inventory %s: %w", r.place, err)
	}
	return inventory.New(hosts), nil
}

func (r registry) registered(ctx context.Context) ([]etcd.Host, error) {
	c, err := etcd.Open(ctx, r.place, r.access)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Hosts(ctx, inventory.MaxHosts, inventory.MaxBytes)
}

// parseRegistered reads one host. A host that was broken into may write anything under
// its name, and what it writes leads to itself alone.
func parseRegistered(f etcd.Host) (inventory.Host, error) {
	one, err := inventory.Parse(f.Key, slices.Concat([]byte(`{"hosts":[`), f.Value, []byte(`]}`)))
	if err != nil {
		return inventory.Host{}, err
	}
	if len(one.Hosts) != 1 {
		return inventory.Host{}, fmt.Errorf("%s: it has %d hosts", f.Key, len(one.Hosts))
	}
	h := one.Hosts[0]
	id, err := identity.Parse(h.AgentID)
	switch {
	case h.Name != f.Name:
		return h, fmt.Errorf("%s: it is about %s", f.Key, h.Name)
	case err != nil || id.Name != h.Name:
		return h, fmt.Errorf("%s: agent_id %q is not the identity of %s: want spiffe://TRUST-DOMAIN/gracefleet/agent/%s", f.Key, h.AgentID, h.Name, h.Name)
	}
	return h, nil
}

// differ refuses hosts at one address: one agent would be asked twice.
func differ(hosts []inventory.Host) error {
	names := map[string]string{}
	for _, h := range hosts {
		if other, twice := names[h.Address]; twice {
			return fmt.Errorf("both %s and %s are at %s: one agent would be asked twice", other, h.Name, h.Address)
		}
		names[h.Address] = h.Name
	}
	return nil
}
