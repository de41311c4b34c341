package runner

import (
	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

var progresses = map[pb.RolloutReport_Progress]rollout.Progress{
	pb.RolloutReport_PROGRESS_CLAIMED:     rollout.Claimed,
	pb.RolloutReport_PROGRESS_PUSHED:      rollout.Pushed,
	pb.RolloutReport_PROGRESS_UPGRADING:   rollout.Upgrading,
	pb.RolloutReport_PROGRESS_SOAKING:     rollout.Soaking,
	pb.RolloutReport_PROGRESS_UPGRADED:    rollout.Upgraded,
	pb.RolloutReport_PROGRESS_UNCHANGED:   rollout.Unchanged,
	pb.RolloutReport_PROGRESS_FAILED:      rollout.Failed,
	pb.RolloutReport_PROGRESS_RETURNING:   rollout.Returning,
	pb.RolloutReport_PROGRESS_ROLLED_BACK: rollout.RolledBack,
	pb.RolloutReport_PROGRESS_STUCK:       rollout.Stuck,
}

// told is what a report tells the machine.
func told(host string, r *pb.RolloutReport) rollout.Event {
	word := r.GetControl()
	e := rollout.Event{
		Type: rollout.Reported, Host: host, Progress: progresses[r.GetProgress()], Revision: r.GetRevision(),
		Reason: api.ReasonText(r.GetReason()), Message: r.GetMessage(),
		Control: rollout.Control{
			Revision: word.GetRevision(), Paused: word.GetPaused(), PromotedWave: int(word.GetPromotedWave()), Abort: word.GetAbort(),
			By: said(word.GetActor(), word.GetReason()),
		},
	}
	if r.GetReleaseTime() != nil {
		e.Type, e.Ending = rollout.Released, rollout.ParseEnding(r.GetEnding())
	}
	return e
}

// said is who said something, and why.
func said(actor, why string) string {
	if actor == "" || why == "" {
		return actor
	}
	return actor + ": " + why
}

// begun says that the rollout did something to the host, or found that it need not.
func begun(r *pb.RolloutReport) bool { return r.GetProgress() > pb.RolloutReport_PROGRESS_PUSHED }

// news is what of a report is worth telling observers: not how long the lease lasts.
type news struct {
	progress          pb.RolloutReport_Progress
	revision, control int64
	weight, left      int32
}

func newsOf(r *pb.RolloutReport) news {
	return news{
		progress: r.GetProgress(), revision: r.GetRevision(), control: r.GetControl().GetRevision(),
		weight: r.GetWeight(), left: r.GetConnectionsLeft(),
	}
}
