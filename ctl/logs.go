package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func newLogs(s *session) *cobra.Command {
	req := &pb.ReadLogsRequest{}
	var since string
	var raw bool
	cmd := &cobra.Command{
		Use:   "logs SERVICE",
		Short: "Show what a service's programs wrote",
		Long: "Shows what the generations of a service wrote to their output. On a terminal control\n" +
			"characters are written out, so that a program cannot take the terminal over; --raw\n" +
			"prints the lines alone and unchanged.",
		Example:           example("gracectl logs web -f", "gracectl logs web -n 100 --since 10m --generation 7"),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeServices,
	}
	f := cmd.Flags()
	f.BoolVarP(&req.Follow, "follow", "f", false, "go on with what is written next")
	f.Int32VarP(&req.Lines, "lines", "n", 0, "last so many lines (default all that are held)")
	f.StringVar(&since, "since", "", "lines since a time (2006-01-02T15:04:05Z) or for a duration (10m)")
	f.Int32Var(&req.Generation, "generation", 0, "one generation's lines (default all)")
	f.BoolVar(&raw, "raw", false, "lines alone, unchanged")
	cmd.PreRunE = func(_ *cobra.Command, args []string) error {
		req.Service = args[0]
		from, err := sinceTime(since, time.Now())
		if !from.IsZero() {
			req.Since = timestamppb.New(from)
		}
		return err
	}
	s.withRecords(cmd, func(ctx context.Context, c *client, _ []string) error {
		stream, err := c.services.ReadLogs(ctx, req)
		if err != nil {
			return err
		}
		return s.drainStream(ctx, func() error {
			line, err := stream.Recv()
			if err != nil {
				return err
			}
			return s.logLine(line, raw)
		})
	})
	return cmd
}

// drainStream receives until the stream ends, or its reader ends it.
func (s *session) drainStream(ctx context.Context, receive func() error) error {
	for {
		err := receive()
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return s.ended()
		default:
			return err
		}
	}
}

// sinceTime reads a time or a duration before now; the zero time when there is none.
func sinceTime(since string, now time.Time) (time.Time, error) {
	if since == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(since); err == nil {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, since)
	if err != nil {
		return time.Time{}, usage("--since %q: want a time such as 2006-01-02T15:04:05Z or a duration such as 10m", since)
	}
	return t, nil
}

func (s *session) logLine(line *pb.ReadLogsResponse, raw bool) error {
	if s.structured() {
		return s.record("log", line.GetTime().AsTime(), object{{"generation", line.GetGeneration()}, {"line", string(line.GetLine())}})
	}
	if raw {
		_, err := s.stdio.Out.Write(append(line.GetLine(), '\n'))
		return err
	}
	text := string(line.GetLine())
	if _, ok := terminal(s.stdio.Out); ok {
		text = visible(text)
	}
	_, err := fmt.Fprintf(s.stdio.Out, "%s %d | %s\n", line.GetTime().AsTime().Local().Format(time.DateTime), line.GetGeneration(), text)
	return err
}
