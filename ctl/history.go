package ctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/internal/chain"
)

func newHistory(s *session) *cobra.Command {
	return &cobra.Command{
		Use:               "history SERVICE",
		Short:             "Show what was done to a service: what, who, when, why, how it ended",
		Example:           example("gracectl history web", "gracectl history web -o json", "gracectl history web --hosts zone=b"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
		RunE: s.withEach(func(ctx context.Context, c *client, args []string) error {
			past, err := c.past(ctx, args[0])
			if err != nil {
				return err
			}
			if s.structured() {
				return s.print(append(object{{"service", args[0]}}, past.object()...))
			}
			return s.tellPast(past)
		}, s.historyOfHosts),
	}
}

// past is what was done to a service on one host.
type past struct {
	upgrades    []*pb.Upgrade
	generations []*pb.Generation
	acts        []auditLine
}

func (p past) object() object {
	return object{{"upgrades", many(p.upgrades)}, {"acts", actObjects(p.acts)}, {"generations", many(p.generations)}}
}

func (c *client) past(ctx context.Context, service string) (p past, err error) {
	if p.upgrades, err = c.listUpgrades(ctx, service); err != nil {
		return p, err
	}
	if p.generations, err = c.listGenerations(ctx, service); err != nil {
		return p, err
	}
	p.acts, err = c.acts(ctx, service, p.upgrades)
	return p, err
}

// tellPast shows it to people.
func (s *session) tellPast(p past) error {
	return s.printTable(historyTable(p.upgrades, p.acts, time.Now()))
}

// historyOfHosts shows the history of a service on many hosts.
func (s *session) historyOfHosts(ctx context.Context, hosts []inventory.Host, args []string) error {
	ask := func(ctx context.Context, c *client) (past, error) { return c.past(ctx, args[0]) }
	return stackHosts(ctx, s, hosts, ask, past.object, s.tellPast)
}

// lastActs is how many lines of the record are looked at: all of them take seconds.
const lastActs = 20_000

// acts are what the newest lines of the record have of a service beside its upgrades,
// newest first: how it was stopped, told to reload, and so on. Agents that are too old
// have no record.
func (c *client) acts(ctx context.Context, service string, upgrades []*pb.Upgrade) ([]auditLine, error) {
	known := map[string]bool{}
	for _, up := range upgrades {
		known[up.GetRequestId()] = true
	}
	var acts []auditLine
	refused := map[string]bool{} // after they were allowed, such as for their signature
	err := c.readAudit(ctx, &pb.ReadAuditRequest{Service: service, Last: lastActs}, func(*pb.ReadAuditResponse) {}, func(l auditLine) error {
		switch {
		case l.entry.Decision != chain.Allowed:
			refused[l.entry.RequestID] = true
		case l.entry.RequestID != "" && known[l.entry.RequestID]:
		case l.entry.Method == pb.UpgradeService_StartUpgrade_FullMethodName, l.entry.Method == pb.UpgradeService_RollbackService_FullMethodName:
			// came to nothing, or is forgotten
		default:
			acts = append(acts, l)
		}
		return nil
	})
	acts = slices.DeleteFunc(acts, func(l auditLine) bool { return l.entry.RequestID != "" && refused[l.entry.RequestID] })
	slices.Reverse(acts)
	if status.Code(err) == codes.Unimplemented {
		err = nil
	}
	return acts, err
}

func actObjects(acts []auditLine) []object {
	out := []object{}
	for _, l := range acts {
		out = append(out, auditObject(l))
	}
	return out
}

func historyTable(all []*pb.Upgrade, acts []auditLine, now time.Time) *table {
	t := &table{head: []string{"WHAT", "ENDED", "ARTIFACT", "VERSION", "AGE", "TOOK", "WHO", "WHY", "HOW"}}
	for _, up := range all {
		for len(acts) > 0 && acts[0].entry.Time.After(up.GetCreateTime().AsTime()) {
			t.add(actCells(acts[0], now)...)
			acts = acts[1:]
		}
		state := word(up.GetState())
		took := "-"
		if up.GetEndTime() != nil {
			took = span(up.GetEndTime().AsTime().Sub(up.GetCreateTime().AsTime()))
		}
		t.add(cell{upgradeName(up), ""}, cell{state, stateColor(state)}, cell{short(up.GetArtifact()), ""},
			cell{orDash(up.GetVersion()), ""}, cell{ago(up.GetCreateTime(), now), ""}, cell{took, ""},
			cell{orDash(up.GetActor()), ""}, cell{orDash(up.GetComment()), ""}, cell{how(up), ""})
	}
	for _, l := range acts {
		t.add(actCells(l, now)...)
	}
	return t
}

func actCells(l auditLine, now time.Time) []cell {
	e := l.entry
	verb, _ := strings.CutSuffix(methodName(e.Method), "Service")
	verb, _ = strings.CutSuffix(verb, "Upgrade")
	return []cell{
		{strings.ToLower(verb), ""},
		{"-", ""},
		{"-", ""},
		{"-", ""},
		{ago(timestamppb.New(e.Time), now), ""},
		{"-", ""},
		{orDash(visible(e.Actor)), ""},
		{orDash(visible(e.Reason)), ""},
		{},
	}
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
