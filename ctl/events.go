package ctl

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newEvents(s *session) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:               "events [SERVICE]",
		Short:             "Show what happened on the host",
		Long:              "Shows the events the agent holds, of one service or all. With -w it goes on until Ctrl-C.",
		Example:           example("gracectl events -w", "gracectl events web -o json"),
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on with what happens next")
	s.withRecords(cmd, func(ctx context.Context, c *client, args []string) error {
		req := &pb.WatchEventsRequest{NoFollow: !watch}
		if len(args) > 0 {
			req.Service = args[0]
		}
		stream, err := c.services.WatchEvents(ctx, req)
		if err != nil {
			return err
		}
		return s.drainStream(ctx, func() error {
			m, err := stream.Recv()
			if err != nil {
				return err
			}
			return s.event(m.GetEvent())
		})
	})
	return cmd
}

func (s *session) event(e *pb.Event) error {
	if !s.structured() {
		s.say("%s %s", e.GetTime().AsTime().Local().Format(time.DateTime), eventText(e))
		return nil
	}
	var o object
	for _, m := range message(e) {
		if m.key != "time" { // every record has it
			o = append(o, m)
		}
	}
	return s.record("event", e.GetTime().AsTime(), o)
}

// eventText is an event in one line.
func eventText(e *pb.Event) string {
	text := e.GetService()
	if e.GetGeneration() != 0 {
		text += fmt.Sprintf(" generation %d", e.GetGeneration())
	}
	switch k := e.GetKind().(type) {
	case *pb.Event_GenerationChanged:
		return withMessage(fmt.Sprintf("%s: %s -> %s", text, word(k.GenerationChanged.GetFrom()), word(k.GenerationChanged.GetTo())), k.GenerationChanged.GetMessage())
	case *pb.Event_UpgradeChanged:
		up := k.UpgradeChanged.GetUpgrade()
		return withMessage(fmt.Sprintf("%s: %s: %s", e.GetService(), upgradeName(up), word(up.GetState())), up.GetMessage())
	case *pb.Event_Notice:
		if k.Notice.GetWarning() {
			text += ": warning"
		}
		return withMessage(text, k.Notice.GetMessage())
	case *pb.Event_ServiceChanged:
		text += ": " + k.ServiceChanged.GetVerb()
		if k.ServiceChanged.GetActor() != "" {
			text += " by " + visible(k.ServiceChanged.GetActor())
		}
		return withMessage(text, k.ServiceChanged.GetReason())
	case *pb.Event_EventsDropped:
		return fmt.Sprintf("%d events were lost to this reader: see gracectl status", k.EventsDropped.GetCount())
	}
	return text + ": an event that this gracectl is too old for"
}

func withMessage(text, message string) string {
	if message == "" {
		return text
	}
	return text + ": " + visible(message)
}
