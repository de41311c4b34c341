package ctl

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/demo"
)

func newDemo(s *session) *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it all on this machine: no root, nothing to install, under a minute",
		Long: "Starts an agent in a temporary directory, a sample service and a load that never\n" +
			"repeats a request; then shows an upgrade with a canary, a bad candidate that is\n" +
			"turned away, an abort and a rollback. Fails when a request is lost.",
		Example: example("gracectl demo", "gracectl demo --rate 2000"),
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.demo(cmd.Context(), o, demo.Run) },
	}
	cmd.PersistentFlags().Float64Var(&o.Rate, "rate", 400, "requests a second")
	cmd.PersistentFlags().BoolVar(&o.Keep, "keep", false, "leave the directory and say where it is")
	cmd.Flags().IntVar(&o.Port, "port", 0, "port on 127.0.0.1 (default a free one)")
	cmd.AddCommand(newDemoFleet(s, &o))
	return cmd
}

func newDemoFleet(s *session, o *demo.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fleet",
		Short: "See a rollout over three hosts: three agents on this machine, no root",
		Long: "Starts three agents in a temporary directory, a sample service on each and a load that\n" +
			"never repeats a request; then shows a rollout with a canary host, a bad release that is\n" +
			"taken back there, and the way back from a whole rollout. Fails when a request is lost.",
		Example: example("gracectl demo fleet", "gracectl demo fleet --stay"),
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.demo(cmd.Context(), *o, demo.RunFleet) },
	}
	cmd.Flags().BoolVar(&o.Stay, "stay", false, "leave the hosts running until Ctrl-C, and say how to reach them")
	return cmd
}

// demo tells a story.
func (s *session) demo(ctx context.Context, o demo.Options, run func(context.Context, demo.Options) (demo.Report, error)) error {
	o.Out = s.stdio.Out
	if s.output == "json" {
		o.Out = s.stdio.Err
	}
	_, o.Animated = terminal(o.Out)
	report, err := run(ctx, o)
	if err != nil {
		return err
	}
	if s.output == "json" {
		return json.NewEncoder(s.stdio.Out).Encode(report)
	}
	_, err = fmt.Fprintln(s.stdio.Out, "\nNothing was lost. Everything is cleaned up.")
	return err
}

// newDemoService is what versions of the sample service are told to be.
func newDemoService() *cobra.Command {
	return &cobra.Command{
		Use: demo.SampleArgument, Hidden: true, Args: cobra.NoArgs, Short: "The sample service of the demo",
		Example: example("gracectl demo"),
		RunE:    func(*cobra.Command, []string) error { return demo.Serve() },
	}
}
