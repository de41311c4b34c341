package ctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

func newHosts(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "hosts",
		Short: "Show the hosts of an inventory: who answers, what runs, what differs",
		Long: "Asks every host of the inventory, or those that are chosen: whether its agent answers,\n" +
			"its version, until when its certificate counts, and what its services run. Below stands\n" +
			"which services run or have recorded something else than on most of the hosts. Exit code\n" +
			"6 if some hosts are unreachable. Without an inventory it shows the one agent.",
		Example: example("gracectl hosts --inventory fleet.yaml", "gracectl hosts --hosts role=web,zone!=b",
			"gracectl hosts -o json | jq '.hosts[] | select(.outcome == \"unreachable\") | .host'"),
		Args: cobra.NoArgs,
		RunE: s.withFleet(func(ctx context.Context, _ []string) error { return s.showHosts(ctx, s.chosen) }),
	}
}

// hostState is what a host says of itself.
type hostState struct {
	agent    *pb.AgentInfo
	services []*pb.ServiceStatus
}

func (s *session) showHosts(ctx context.Context, hosts []inventory.Host) error {
	ask := func(ctx context.Context, c *client) (l hostState, err error) {
		if l.agent, err = c.agentInfo(ctx); err != nil {
			return l, err
		}
		l.services, err = c.listServices(ctx)
		return l, err
	}
	var d drift
	compare := func(r reply[hostState]) {
		if r.err != nil {
			return
		}
		for _, st := range r.answer.services {
			d.add(r.host.Name, st)
		}
	}
	if s.structured() {
		list := &hostList{s: s}
		return sweep(ctx, s, hosts, ask, func(r reply[hostState]) error {
			compare(r)
			return list.add(hostObject(r))
		}, func() error {
			all := []object{}
			for _, deviation := range d.deviations() {
				all = append(all, deviation.object())
			}
			return list.end(member{"drift", all})
		})
	}
	t := s.newColumns([]string{"HOST", "STATE", "AGENT", "PLATFORM", "CERTIFICATE", "SERVICES"}, names(hosts), 11, 8, 11, 11)
	return sweep(ctx, s, hosts, ask, func(r reply[hostState]) error {
		compare(r)
		return t.add(hostRow(r, time.Now())...)
	}, func() error { return s.driftText(d.deviations()) })
}

func hostObject(r reply[hostState]) object {
	o := append(r.object(), member{"address", r.host.Address})
	if r.err != nil {
		return o
	}
	services := []object{}
	for _, st := range r.answer.services {
		active := generation(st, st.GetService().GetActiveGeneration())
		services = append(services, object{
			{"service", st.GetService().GetName()},
			{"state", word(st.GetService().GetState())},
			{"generation", active.GetNumber()},
			{"artifact", active.GetArtifact()},
			{"version", active.GetVersion()},
		})
	}
	return append(o, member{"agent", message(r.answer.agent)}, member{"services", services})
}

func hostRow(r reply[hostState], now time.Time) []cell {
	name, dash := cell{r.host.Name, ""}, cell{"-", ""}
	if r.err != nil {
		return []cell{name, {strings.ToUpper(r.outcome()), colorBad}, dash, dash, dash, {visible(words(r.err)), ""}}
	}
	state := cell{"UP", colorGood}
	runs := make([]string, 0, len(r.answer.services))
	for _, st := range r.answer.services {
		runs = append(runs, runsText(st))
	}
	text := strings.Join(runs, ", ")
	if degraded := r.answer.agent.GetDegraded(); len(degraded) > 0 {
		state = cell{"DEGRADED", colorWait}
		text = strings.TrimPrefix(text+"; "+strings.Join(degraded, "; "), "; ")
	}
	agent := r.answer.agent
	return []cell{name, state, {orDash(agent.GetVersion()), ""}, {orDash(agent.GetPlatform()), ""}, certificateCell(agent.GetNetwork().GetNotAfter(), now), {orDash(text), ""}}
}

// runsText is a service and what its active generation runs.
func runsText(st *pb.ServiceStatus) string {
	active := generation(st, st.GetService().GetActiveGeneration())
	switch {
	case active == nil:
		return st.GetService().GetName() + " " + word(st.GetService().GetState())
	case active.GetVersion() != "":
		return st.GetService().GetName() + " " + active.GetVersion()
	}
	return st.GetService().GetName() + " " + short(active.GetArtifact())
}

// certificateCell is the day on which a certificate ends. The agent warns of the same
// days, by its own clock.
func certificateCell(end *timestamppb.Timestamp, now time.Time) cell {
	if end == nil {
		return cell{"-", ""}
	}
	const day = 24 * time.Hour
	text, left := end.AsTime().Format(time.DateOnly), end.AsTime().Sub(now)
	switch {
	case left < 7*day:
		return cell{text, colorBad}
	case left < 30*day:
		return cell{text, colorWait}
	}
	return cell{text, ""}
}

// driftText is what differs, for people.
func (s *session) driftText(all []deviation) error {
	if len(all) == 0 {
		return nil
	}
	t := &table{head: []string{"DRIFT", "HOST", "RUNS", "ON MOST", "RECORDED DIFFERENTLY"}}
	for _, d := range all {
		runs := cell{"the same", ""}
		if d.artifact != d.most {
			runs = cell{orDash(short(d.artifact)), colorWait}
		}
		t.add(cell{visible(d.service), ""}, cell{d.host, ""}, runs, cell{fmt.Sprintf("%s (%d of %d)", orDash(short(d.most)), d.mostHosts, d.hosts), ""},
			cell{strings.Join(d.fields, ", "), colorWait})
	}
	s.say("")
	return s.printTable(t)
}
