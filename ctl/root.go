package ctl

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// newRoot builds the command tree of one run.
func newRoot(s *session) *cobra.Command {
	root := &cobra.Command{
		Use:   "gracectl",
		Short: "Upgrade running services without losing a request",
		Long: "gracectl tells the agent graced what to run, upgrades it without losing a request,\n" +
			"and takes it back just as quietly.",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if !slices.Contains([]string{"table", "json", "yaml"}, s.output) {
				return usage("-o %s is not known: use table, json or yaml", s.output)
			}
			return nil
		},
	}
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped 95")) // some columns less than 100
	root.SetIn(s.stdio.In)
	root.SetOut(s.stdio.Out)
	root.SetErr(s.stdio.Err)
	f := root.PersistentFlags()
	s.flags.register(f)
	f.StringVarP(&s.output, "output", "o", "table", "output: table, json or yaml")
	f.BoolVar(&s.noColor, "no-color", false, "no colours (env NO_COLOR)")
	f.BoolVarP(&s.yes, "yes", "y", false, "do not ask")
	f.DurationVar(&s.timeout, "timeout", 0, "limit of the wait, never of the upgrade: exit code 8 when it passes")
	root.AddCommand(commands(s)...)
	s.markStarts(root)
	return root
}

// markStarts makes every command say when its arguments were understood:
// cobra's own errors come before and are errors of use. A command's PreRunE
// checks what can be checked without the agent.
func (s *session) markStarts(cmd *cobra.Command) {
	mark := func(run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
		if run == nil {
			return nil
		}
		return func(cmd *cobra.Command, args []string) error {
			s.started = true
			return run(cmd, args)
		}
	}
	cmd.PreRunE, cmd.RunE = mark(cmd.PreRunE), mark(cmd.RunE)
	for _, sub := range cmd.Commands() {
		s.markStarts(sub)
	}
}

func commands(s *session) []*cobra.Command {
	return []*cobra.Command{
		newApply(s), newAdopt(s), newPush(s), newUpgrade(s), newStatus(s), newPromote(s), newAbort(s),
		newRollback(s), newHistory(s), newLogs(s), newStop(s), newStart(s), newRestart(s),
		newReload(s), newDelete(s), newArtifact(s), newEvents(s), newAudit(s), newInfo(s), newHosts(s), newExplain(s),
		newRollout(s), newFreeze(s), newUnfreeze(s), newPreflight(s), newPreflightRoom(s), newCert(s), newHost(s), newSign(s), newAuth(s),
		newVersion(s), newDemo(s), newDemoService(),
	}
}

// example indents a command's examples as cobra's help expects them.
func example(lines ...string) string {
	return "  " + strings.Join(lines, "\n  ")
}
