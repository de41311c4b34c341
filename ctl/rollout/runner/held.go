package runner

import (
	"cmp"
	"time"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// HeldError says that somebody else has the service, or the rollout: nothing was done,
// or nothing more is. Fields that the agent did not tell are empty.
type HeldError struct {
	// Host is the host that said so.
	Host string
	// Reason is ROLLOUT_CLAIMED by another rollout, ROLLOUT_DRIVEN by another driver of
	// this one, UPGRADE_IN_PROGRESS of no rollout, or ROLLOUT_OVERTAKEN while it ran.
	Reason pb.Reason
	// Rollout and SpecHash name the other rollout. A SpecHash like that of the own Spec
	// means that it does the same: attach to it.
	Rollout, SpecHash string
	// Driver and Actor say who.
	Driver, Actor string
	// Time is since when it is claimed, or until when the lease lasts.
	Time time.Time
	// Message is the agent's.
	Message string
}

// Error names the host and the holder.
func (e *HeldError) Error() string { return e.Host + ": " + e.Message }

// holder is who it is, as far as is known.
func (e *HeldError) holder() string { return cmp.Or(e.Actor, e.Driver, e.Message) }

func heldBy(host string, err *api.Error) *HeldError {
	since, _ := time.Parse(time.RFC3339Nano, err.Metadata["time"]) // zero when it is not told
	return &HeldError{
		Host: host, Reason: err.Reason, Rollout: err.Metadata["rollout"], SpecHash: err.Metadata["spec_hash"],
		Driver: err.Metadata["driver"], Actor: err.Metadata["actor"], Time: since, Message: err.Message,
	}
}
