package ctl

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gracefleet/gracefleet/ctl/internal/etcd"
)

// history is what the coordinator has kept of rollouts; nil without one.
func (s *session) history(ctx context.Context, service string) ([]etcd.Record, error) {
	c, err := s.coordinator(ctx)
	if c == nil || err != nil {
		return nil, err
	}
	defer c.Close()
	past, err := c.History(ctx, service)
	if past == nil && err != nil {
		return nil, fmt.Errorf("coordinator: %w", err)
	}
	if err != nil {
		s.note("%s", visible(err.Error()))
	}
	return append([]etcd.Record{}, past...), nil
}

func (s *session) tellHistory(past []etcd.Record) error {
	s.say("")
	rows := &table{head: []string{"HISTORY", "SERVICE", "ENDING", "HOSTS", "AGE", "TOOK", "WHO", "WHY"}}
	for _, r := range past {
		rows.add(cell{visible(r.Rollout), ""}, cell{visible(r.Service), ""}, cell{visible(r.Ending), traceColor(r.Ending)}, cell{outcomesText(r.Hosts), ""},
			cell{ago(timestamppb.New(r.Ended), time.Now()), ""}, cell{span(r.Ended.Sub(r.Begun)), ""}, cell{orDash(visible(r.Actor)), ""}, cell{orDash(visible(r.Reason)), ""})
	}
	return s.printTable(rows)
}

// historyMembers are the same as records; none without a coordinator.
func historyMembers(past []etcd.Record) object {
	if past == nil {
		return nil
	}
	out := []object{}
	for _, r := range past {
		hosts := object{}
		for _, outcome := range outcomeOrder {
			if n := r.Hosts[string(outcome)]; n > 0 {
				hosts = append(hosts, member{string(outcome), n})
			}
		}
		out = append(out, object{
			{"id", r.Rollout},
			{"service", r.Service},
			{"ending", r.Ending},
			{"actor", r.Actor},
			{"reason", r.Reason},
			{"specHash", r.SpecHash},
			{"beginTime", timestamp(r.Begun)},
			{"endTime", timestamp(r.Ended)},
			{"hosts", hosts},
		})
	}
	return object{{"history", out}}
}
