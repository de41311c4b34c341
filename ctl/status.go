package ctl

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newStatus(s *session) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status [SERVICE]",
		Short: "Show services, generations, weights and connections",
		Long: "Shows the host's services, or one with its generations, upgrade and the changes that\n" +
			"wait for the next upgrade. With -w it goes on until Ctrl-C. Of many hosts it shows a\n" +
			"line for each service.",
		Example:           example("gracectl status", "gracectl status web -w", "gracectl status web --inventory fleet.yaml --hosts zone=a", "gracectl status web -o json | jq '.generations[0].openConnections'"),
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on showing changes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if watch {
			s.stream = true
			return s.withAgent(s.watchStatus)(cmd, args)
		}
		return s.withHosts(s.status, s.statusOfHosts)(cmd, args)
	}
	return cmd
}

func (s *session) status(ctx context.Context, c *client, args []string) error {
	if len(args) == 0 {
		return s.allStatus(ctx, c)
	}
	answer, err := c.services.GetService(ctx, &pb.GetServiceRequest{Name: args[0]})
	if err != nil {
		return err
	}
	return s.printStatus(answer.GetStatus())
}

// printStatus prints one service as it stands.
func (s *session) printStatus(st *pb.ServiceStatus) error {
	if s.structured() {
		return s.print(message(st))
	}
	for _, line := range statusLines(st, time.Now(), s.colored(s.stdio.Out)) {
		s.say("%s", line)
	}
	return nil
}

func (s *session) allStatus(ctx context.Context, c *client) error {
	all, err := c.listServices(ctx)
	if err != nil {
		return err
	}
	if s.structured() {
		return s.print(object{{"services", many(all)}})
	}
	if len(all) == 0 {
		s.note("no services; create one with gracectl apply -f FILE")
		return nil
	}
	return s.printTable(serviceTable(all, time.Now()))
}

func (c *client) listServices(ctx context.Context) ([]*pb.ServiceStatus, error) {
	var all []*pb.ServiceStatus
	req := &pb.ListServicesRequest{}
	for {
		answer, err := c.services.ListServices(ctx, req)
		if err != nil {
			return nil, err
		}
		all = append(all, answer.GetServices()...)
		if req.PageToken = answer.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
}

var serviceHead = []string{"SERVICE", "STATE", "GENERATION", "ARTIFACT", "VERSION", "CONNECTIONS", "DRAINING", "NOTE"}

func serviceTable(all []*pb.ServiceStatus, now time.Time) *table {
	t := &table{head: serviceHead}
	for _, st := range all {
		state := word(st.GetService().GetState())
		active := generation(st, st.GetService().GetActiveGeneration())
		var open *int32
		if active != nil {
			open = active.OpenConnections
		}
		t.add(cell{st.GetService().GetName(), ""}, cell{state, stateColor(state)},
			cell{pid(active.GetNumber()), ""}, cell{orDash(short(active.GetArtifact())), ""}, cell{orDash(active.GetVersion()), ""},
			cell{maybe(open), ""}, cell{fmt.Sprint(countDraining(st)), ""}, cell{serviceNote(st, now), ""})
	}
	return t
}

func countDraining(st *pb.ServiceStatus) int {
	n := 0
	for _, g := range st.GetGenerations() {
		if g.GetState() == pb.Generation_STATE_DRAINING {
			n++
		}
	}
	return n
}

func serviceNote(st *pb.ServiceStatus, now time.Time) string {
	if inProgress(st.GetUpgrade()) {
		return upgradeText(st.GetUpgrade(), now)
	}
	if warnings := st.GetService().GetWarnings(); len(warnings) > 0 {
		return visible(warnings[0])
	}
	if n := len(st.GetService().GetPending()); n > 0 {
		return count(n, "pending change")
	}
	return ""
}

// watchStatus shows changes until the wait ends, which is how it is left.
func (s *session) watchStatus(ctx context.Context, c *client, args []string) error {
	service := ""
	if len(args) > 0 {
		service = args[0]
	}
	var v view = &records{s: s}
	if !s.structured() {
		v = s.people(s.stdio.Out)
	}
	err := s.watch(ctx, c, service, v, func(*pb.ServiceStatus) (bool, error) { return false, nil })
	if ctx.Err() != nil {
		return s.ended()
	}
	return err
}

// ended ends a stream that only its reader ends.
func (s *session) ended() error {
	if !s.structured() {
		return nil
	}
	return s.conclude(result{outcome: "done", host: "unchanged"})
}
