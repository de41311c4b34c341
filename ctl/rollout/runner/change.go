package runner

import (
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

// Change is one thing that happened. What it points to is never changed afterwards and
// may be kept.
type Change struct {
	At time.Time
	// Host is whom it is about; empty when it is about the rollout as a whole.
	Host string
	// Event is what the machine was told; its Type is 0 where bytes went over the wire.
	Event rollout.Event
	// Report is what the agent said, nil when it said nothing: generation, weight,
	// connections left.
	Report *pb.RolloutReport
	// Sent are the bytes that went to the host so far, of Size in all.
	Sent, Size int64
	// Before and State are the rollout before and after it. They tell phases, waves that
	// begin and end, holds and holders; instants in them are Instant's.
	Before, State *rollout.State
}

// Instant is an instant of the machine's clock as the time of day; the zero Time for 0.
func Instant(t rollout.Time) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(t))
}
