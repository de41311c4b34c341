package ctl

import (
	"context"
	"strings"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

// statusOfHosts shows many hosts' services, or one of each.
func (s *session) statusOfHosts(ctx context.Context, hosts []inventory.Host, args []string) error {
	ask := func(ctx context.Context, c *client) ([]*pb.ServiceStatus, error) {
		if len(args) == 0 {
			return c.listServices(ctx)
		}
		answer, err := c.services.GetService(ctx, &pb.GetServiceRequest{Name: args[0]})
		return []*pb.ServiceStatus{answer.GetStatus()}, err
	}
	if s.structured() {
		return listHosts(ctx, s, hosts, ask, func(all []*pb.ServiceStatus) object {
			if len(args) == 0 {
				return object{{"services", many(all)}}
			}
			return object{{"status", message(all[0])}}
		})
	}
	t := s.newColumns(append([]string{"HOST"}, serviceHead...), names(hosts), 12, 11, 10, 12)
	return sweep(ctx, s, hosts, ask, func(r reply[[]*pb.ServiceStatus]) error {
		return t.services(r, time.Now())
	}, nothingMore)
}

// services adds a host's services.
func (t *columns) services(r reply[[]*pb.ServiceStatus], now time.Time) error {
	dash := cell{"-", ""}
	var rows [][]cell
	switch {
	case r.err != nil:
		rows = [][]cell{{dash, {strings.ToUpper(r.outcome()), colorBad}, dash, dash, dash, dash, dash, {visible(words(r.err)), ""}}}
	case len(r.answer) == 0:
		rows = [][]cell{{dash, dash, dash, dash, dash, dash, dash, {"no services", ""}}}
	default:
		rows = serviceTable(r.answer, now).rows
	}
	for _, row := range rows {
		if err := t.add(append([]cell{{r.host.Name, ""}}, row...)...); err != nil {
			return err
		}
	}
	return nil
}
