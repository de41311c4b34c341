package fetch

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

// srvLimit is how long name servers may take.
const srvLimit = 10 * time.Second

// records are the service records of a domain (RFC 2782). Each names a host and its
// port; priorities and weights mean nothing, since every host is meant. Who answers
// for the domain decides which hosts there are, but not which agents may pose as
// them: their certificates must be for the names.
type records struct {
	name   string
	lookup func(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

func (r records) Read(ctx context.Context) (*inventory.Inventory, error) {
	ctx, cancel := context.WithTimeout(ctx, srvLimit)
	defer cancel()
	_, found, err := r.lookup(ctx, "", "", r.name)
	if err != nil {
		return nil, fmt.Errorf("inventory srv:%s: %w", r.name, err)
	}
	if len(found) > inventory.MaxHosts {
		return nil, fmt.Errorf("inventory srv:%s: more than %d hosts", r.name, inventory.MaxHosts)
	}
	addresses := map[string]string{}
	var hosts []inventory.Host
	for _, record := range found {
		name := strings.ToLower(strings.TrimSuffix(record.Target, "."))
		address, err := inventory.ParseAddress(name + ":" + strconv.Itoa(int(record.Port)))
		if err != nil || !inventory.ValidName(name) {
			return nil, fmt.Errorf("inventory srv:%s: a record for %q, port %d: that is no host", r.name, record.Target, record.Port)
		}
		switch known, twice := addresses[name]; {
		case !twice:
			addresses[name] = address
			hosts = append(hosts, inventory.Host{Name: name, Address: address})
		case known != address:
			return nil, fmt.Errorf("inventory srv:%s: both %s and %s: a host has one agent", r.name, known, address)
		}
	}
	return inventory.New(hosts), nil
}
