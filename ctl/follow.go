package ctl

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// waits are the values of --wait.
var waits = []string{"promoted", "drained", "none"}

func waitFlag(cmd *cobra.Command, wait *string) {
	cmd.Flags().StringVar(wait, "wait", "promoted", "wait until: promoted, drained (the old generation has ended too), none")
}

func checkWait(wait string) error {
	if !slices.Contains(waits, wait) {
		return usage("--wait %s is not known: use promoted, drained or none", wait)
	}
	return nil
}

// follow shows an upgrade until it is over and says what came of it. With
// aborting, an aborted upgrade is what was asked for.
func (s *session) follow(ctx context.Context, c *client, up *pb.Upgrade, wait string, aborting bool) error {
	if wait == "none" {
		return s.conclude(begun(up))
	}
	last, up, err := s.await(ctx, c, up, wait, s.progress())
	switch {
	case ctx.Err() != nil:
		return s.conclude(leave(last, up))
	case err != nil:
		return fmt.Errorf("upgrade %s: %w", up.GetId(), err)
	}
	return s.conclude(outcome(last, up, aborting))
}

// followOne waits for an upgrade on one of many hosts; good is the outcome of one that
// succeeds.
func (s *session) followOne(ctx context.Context, c *client, up *pb.Upgrade, wait, good string) (done, error) {
	if wait == "none" {
		return done{outcome: "in-progress", text: up.GetId()}, nil
	}
	last, up, err := s.await(ctx, c, up, wait, quiet{})
	if err != nil {
		return done{}, err
	}
	d := done{outcome: good, text: visible(up.GetMessage()), more: object{{"toGeneration", up.GetToGeneration()}}}
	if outcome(last, up, false).code != ExitDone {
		d.outcome = "failed"
	}
	return d, nil
}

// await watches an upgrade until it is over. It returns the last looks at the service and
// at the upgrade, also with an error.
func (s *session) await(ctx context.Context, c *client, up *pb.Upgrade, wait string, v view) (*pb.ServiceStatus, *pb.Upgrade, error) {
	last := &pb.ServiceStatus{Upgrade: up}
	err := s.watch(ctx, c, up.GetService(), v, func(st *pb.ServiceStatus) (bool, error) {
		if st.GetUpgrade().GetId() != up.GetId() {
			// Another one began since: ask how this one ended.
			answer, err := c.upgrades.GetUpgrade(ctx, &pb.GetUpgradeRequest{Service: up.GetService(), Id: up.GetId()})
			if err != nil {
				return false, err
			}
			up = answer.GetUpgrade()
		} else {
			up = st.GetUpgrade()
		}
		last = st
		return over(st, up, wait), nil
	})
	return last, up, err
}

// over says whether there is nothing left to wait for.
func over(st *pb.ServiceStatus, up *pb.Upgrade, wait string) bool {
	switch up.GetState() {
	case pb.Upgrade_STATE_FAILED, pb.Upgrade_STATE_ABORTED:
		return true
	case pb.Upgrade_STATE_SUCCEEDED:
		return wait != "drained" || !alive(generation(st, up.GetFromGeneration()))
	}
	return false
}

// generation finds a generation; nil when it is not there.
func generation(st *pb.ServiceStatus, number int32) *pb.Generation {
	for _, g := range st.GetGenerations() {
		if g.GetNumber() == number {
			return g
		}
	}
	return nil
}

// alive says whether a generation has not ended yet.
func alive(g *pb.Generation) bool {
	switch g.GetState() {
	case pb.Generation_STATE_UNSPECIFIED, pb.Generation_STATE_STOPPED, pb.Generation_STATE_FAILED:
		return false
	}
	return true
}
