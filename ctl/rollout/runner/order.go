package runner

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

// changes are what the spec does to a host, by the release that it gets.
func changes(spec rollout.Spec) ([]*pb.RolloutChange, error) {
	out := make([]*pb.RolloutChange, len(spec.Releases))
	for i, release := range spec.Releases {
		c := change(spec, release)
		if len(release.Definition) > 0 {
			c.Spec = &pb.ServiceSpec{}
			if err := proto.Unmarshal(release.Definition, c.Spec); err != nil {
				return nil, fmt.Errorf("rollout of %s: the definition of release %d cannot be read: %w", spec.Service, i, err)
			}
		}
		out[i] = c
	}
	return out, nil
}

func change(spec rollout.Spec, release rollout.Release) *pb.RolloutChange {
	o := spec.Options
	c := &pb.RolloutChange{
		Kind: kinds[spec.Action], Artifact: release.Artifact, Version: release.Version, Signature: release.Signature,
		NoSteps: o.NoSteps, Hold: duration(o.Hold), Soak: duration(o.Soak), Force: o.Force,
		HoldSoak: len(spec.Policy.Checks) > 0,
	}
	for _, weight := range o.Steps {
		c.Steps = append(c.Steps, &pb.CanaryStep{Weight: int32(weight)}) // at most 10000
	}
	return c
}

func duration(d *time.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	return durationpb.New(*d)
}

var kinds = map[rollout.Action]pb.RolloutChange_Kind{
	rollout.ActionUpgrade:  pb.RolloutChange_KIND_UPGRADE,
	rollout.ActionRestart:  pb.RolloutChange_KIND_RESTART,
	rollout.ActionRollback: pb.RolloutChange_KIND_ROLLBACK,
}

var orphans = map[rollout.OnOrphan]pb.OnOrphan{
	rollout.OrphanHold:     pb.OnOrphan_ON_ORPHAN_HOLD,
	rollout.OrphanRollBack: pb.OnOrphan_ON_ORPHAN_ROLLBACK,
	rollout.OrphanFinish:   pb.OnOrphan_ON_ORPHAN_FINISH,
}
