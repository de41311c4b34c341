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
	for _, d := range a.GetDegraded() {
		s.say("degraded  %s", visible(d))
	}
	s.say("")
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
