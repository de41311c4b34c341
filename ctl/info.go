package ctl

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newInfo(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "info",
		Short:   "Show the agent and what its host offers",
		Example: example("gracectl info", "gracectl info -o json | jq '.capabilities[] | select(.available | not)'"),
		Args:    cobra.NoArgs,
		RunE: s.withAgent(func(ctx context.Context, c *client, _ []string) error {
			answer, err := c.agent.GetAgentInfo(ctx, &pb.GetAgentInfoRequest{})
			if err != nil {
				return err
			}
			if s.structured() {
				return s.print(message(answer.GetAgent()))
			}
			s.agentText(answer.GetAgent())
			return s.printTable(capabilityTable(answer.GetAgent()))
		}),
	}
}

func (s *session) agentText(a *pb.AgentInfo) {
	s.say("agent     graced %s, pid %d, up %s", a.GetVersion(), a.GetPid(), ago(a.GetStartTime(), time.Now()))
	s.say("host      %s, %s, Linux %s", a.GetHost(), a.GetPlatform(), a.GetKernel())
	s.say("services  %d", a.GetServices())
	s.say("state     %s (id %s)", a.GetStateDir(), a.GetStateId())
	s.say("runtime   %s", a.GetRuntimeDir())
	s.networkText(a.GetNetwork(), time.Now())
	for _, d := range a.GetDegraded() {
		s.say("degraded  %s", visible(d))
	}
	s.say("")
}

// networkText says until when the agent is known on the network. What ends soon stands
// among what is degraded, by the agent's clock.
func (s *session) networkText(n *pb.AgentNetwork, now time.Time) {
	if n == nil {
		return
	}
	s.say("network   %s, as %s", n.GetAddress(), visible(orDash(n.GetIdentity())))
	s.say("          certificate until %s, serial %s, by %s", minute(n.GetNotAfter().AsTime()), visible(n.GetSerial()), visible(n.GetIssuer()))
	s.say("          CA until %s", minute(n.GetCaNotAfter().AsTime()))
	if list := n.GetCrlNextUpdate(); list != nil {
		s.say("          revocation list until %s", minute(list.AsTime()))
	}
	switch {
	case n.GetRenew() == "":
		s.say("          renewed by nobody: tls.renew is not set")
	case n.GetRenewError() != "":
		s.say("          renewed by %s, which failed: %s", visible(n.GetRenew()), visible(n.GetRenewError()))
	case n.GetRenewContactTime() == nil:
		s.say("          renewed by %s", visible(n.GetRenew()))
	default:
		s.say("          renewed by %s, which answered %s ago", visible(n.GetRenew()), ago(n.GetRenewContactTime(), now))
	}
}

func capabilityTable(a *pb.AgentInfo) *table {
	t := &table{head: []string{"CAPABILITY", "OFFERED", "FOUND", "INSTEAD"}}
	for _, c := range a.GetCapabilities() {
		offered, colour, instead := "yes", colorGood, ""
		if !c.GetAvailable() {
			offered, colour, instead = "no", colorWait, c.GetFallback()
		}
		t.add(cell{c.GetName(), ""}, cell{offered, colour}, cell{fmt.Sprint(c.GetDetail()), ""}, cell{instead, ""})
	}
	return t
}
