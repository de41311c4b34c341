package ctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newHistory(s *session) *cobra.Command {
	return &cobra.Command{
		Use:               "history SERVICE",
		Short:             "Show what was done to a service: what, who, when, why, how it ended",
		Example:           example("gracectl history web", "gracectl history web -o json"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
		RunE: s.withAgent(func(ctx context.Context, c *client, args []string) error {
			upgrades, err := c.listUpgrades(ctx, args[0])
			if err != nil {
				return err
			}
			generations, err := c.listGenerations(ctx, args[0])
			if err != nil {
				return err
			}
			if s.structured() {
				return s.print(object{{"service", args[0]}, {"upgrades", many(upgrades)}, {"generations", many(generations)}})
			}
			return s.printTable(historyTable(upgrades, time.Now()))
		}),
	}
}

func historyTable(all []*pb.Upgrade, now time.Time) *table {
	t := &table{head: []string{"WHAT", "ENDED", "ARTIFACT", "VERSION", "AGE", "TOOK", "WHO", "WHY", "HOW"}}
	for _, up := range all {
		state := word(up.GetState())
		took := "-"
		if up.GetEndTime() != nil {
			took = span(up.GetEndTime().AsTime().Sub(up.GetCreateTime().AsTime()))
		}
		t.add(cell{upgradeName(up), ""}, cell{state, stateColor(state)}, cell{short(up.GetArtifact()), ""},
			cell{orDash(up.GetVersion()), ""}, cell{ago(up.GetCreateTime(), now), ""}, cell{took, ""},
			cell{orDash(up.GetActor()), ""}, cell{orDash(up.GetComment()), ""}, cell{how(up), ""})
	}
	return t
}

// how says what was upgraded to, and how it ended beyond its state.
func how(up *pb.Upgrade) string {
	var parts []string
	if release := releaseText(up.GetRelease(), up.GetSigningKey()); release != "" {
		parts = append(parts, release)
	}
	if up.GetBreakGlass() {
		parts = append(parts, "the glass was broken")
	}
	if up.GetReason() != pb.Reason_REASON_UNSPECIFIED {
		parts = append(parts, fmt.Sprintf("%s: %s", word(up.GetReason()), visible(up.GetMessage())))
	} else if up.GetMessage() != "" {
		parts = append(parts, visible(up.GetMessage()))
	}
	return strings.Join(parts, "; ")
}

func (c *client) listUpgrades(ctx context.Context, service string) ([]*pb.Upgrade, error) {
	var all []*pb.Upgrade
	req := &pb.ListUpgradesRequest{Service: service}
	for {
		answer, err := c.upgrades.ListUpgrades(ctx, req)
		if err != nil {
			return nil, err
		}
		all = append(all, answer.GetUpgrades()...)
		if req.PageToken = answer.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
}

func (c *client) listGenerations(ctx context.Context, service string) ([]*pb.Generation, error) {
	var all []*pb.Generation
	req := &pb.ListGenerationsRequest{Service: service}
	for {
		answer, err := c.services.ListGenerations(ctx, req)
		if err != nil {
			return nil, err
		}
		all = append(all, answer.GetGenerations()...)
		if req.PageToken = answer.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
}
