package ctl

import (
	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/api"
)

// mutation is what every changing request carries.
type mutation struct {
	reason    string
	requestID string
	dryRun    bool
}

func (m *mutation) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&m.reason, "reason", "m", "", "why, for the history")
	f.StringVar(&m.requestID, "request-id", "", "id that makes a repeat of this command harmless (default a new one)")
	f.BoolVar(&m.dryRun, "dry-run", false, "change nothing; exit code 3 when it would change something")
}

// id is the request id, a random one when none was given.
func (m *mutation) id() string {
	if m.requestID == "" {
		m.requestID = api.NewRequestID()
	}
	return m.requestID
}

// wouldChange ends a dry run.
func wouldChange(change bool) error {
	if change {
		return &exitError{code: ExitWouldChange}
	}
	return nil
}
