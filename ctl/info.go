package ctl

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

func newInfo(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "info",
		Short:   "Show the agent and what its host offers; with --all of every host",
		Example: example("gracectl info", "gracectl info --all --inventory fleet.yaml", "gracectl info -o json | jq '.capabilities[] | select(.available | not)'"),
		Args:    cobra.NoArgs,
		RunE:    s.withHosts(s.info, s.infoOfHosts),
	}
}

func (s *session) info(ctx context.Context, c *client, _ []string) error {
	agent, err := c.agentInfo(ctx)
	if err != nil {
		return err
	}
	if s.structured() {
		return s.print(message(agent))
	}
	return s.infoText(agent)
}

// infoOfHosts shows many agents.
func (s *session) infoOfHosts(ctx context.Context, hosts []inventory.Host, _ []string) error {
	ask := func(ctx context.Context, c *client) (*pb.AgentInfo, error) { return c.agentInfo(ctx) }
	return stackHosts(ctx, s, hosts, ask, func(a *pb.AgentInfo) object { return object{{"agent", message(a)}} }, s.infoText)
}

func (c *client) agentInfo(ctx context.Context) (*pb.AgentInfo, error) {
	answer, err := c.agent.GetAgentInfo(ctx, &pb.GetAgentInfoRequest{})
	return answer.GetAgent(), err
}

func (s *session) infoText(a *pb.AgentInfo) error {
	s.agentText(a)
	return s.printTable(capabilityTable(a))
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
