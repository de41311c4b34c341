package ctl

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// completeServices offers the names of the agent's services for the first
// argument of a command, and files for the second.
func (s *session) completeServices(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	c, err := s.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := c.listServices(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := make([]string, len(all))
	for i, st := range all {
		names[i] = st.GetService().GetName()
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
