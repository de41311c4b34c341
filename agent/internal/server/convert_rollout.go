package server

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/gracefleet/gracefleet/agent/internal/claim"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/statement"
)

const (
	maxRolloutSpec = 1000 << 10
	maxRolloutID   = 128
	maxWaves       = 100_000
	minLease       = time.Second
	// maxEpoch is the highest that a request can raise an epoch to, far from where counting
	// on would end. A driver that brings a higher one, which a host has counted to, is not
	// refused: whoever may claim could keep the service from being upgraded for good.
	maxEpoch = 1 << 48
)

// id checks what names a rollout or its driver.
func (c *checker) id(field, id string) {
	unprintable := func(r rune) bool { return r <= ' ' || r > '~' }
	c.that(id != "" && len(id) <= maxRolloutID && !strings.ContainsFunc(id, unprintable), field, "is not 1 to 128 printable ASCII characters without spaces")
}

// enum is the number of a choice that must be made.
func (c *checker) enum(field string, e protoreflect.Enum) protoreflect.EnumNumber {
	c.that(e.Number() != 0 && e.Descriptor().Values().ByNumber(e.Number()) != nil, field, "is none of those that there are")
	return e.Number()
}

// because has the caller say why.
func (c *checker) because(reason string) {
	c.that(strings.TrimSpace(reason) != "", "reason", "is missing: say why")
}

func (c *checker) driver(m *pb.RolloutDriver) claim.Driver {
	c.name("driver.service", m.GetService())
	c.id("driver.rollout_id", m.GetRolloutId())
	return claim.Driver{Rollout: m.GetRolloutId(), Epoch: m.GetEpoch()}
}

func claimRequest(ctx context.Context, r *pb.ClaimRolloutRequest) (supervisor.ClaimRequest, error) {
	c := &checker{}
	c.name("service", r.GetService())
	c.id("rollout_id", r.GetRolloutId())
	c.id("spec_hash", r.GetSpecHash())
	c.that(len(r.GetSpec()) <= maxRolloutSpec, "spec", fmt.Sprintf("more than %d bytes", maxRolloutSpec))
	c.that(r.GetDriver() != "", "driver", "is missing")
	c.text("driver", r.GetDriver(), maxText)
	c.that(r.GetEpoch() >= 0, "epoch", "is negative")
	lease := cmp.Or(c.durationOr("lease", r.GetLease(), 0), claim.DefaultLease)
	c.that(lease >= minLease && lease <= claim.MaxLease, "lease", fmt.Sprintf("is not from %v to %v", minLease, claim.MaxLease))
	if r.GetTakeOver() {
		c.because(r.GetReason())
	}
	onOrphan := claim.Hold
	if r.GetOnOrphan() != pb.OnOrphan_ON_ORPHAN_UNSPECIFIED {
		onOrphan = claim.OnOrphan(c.enum("on_orphan", r.GetOnOrphan()))
	}
	return supervisor.ClaimRequest{
		Caller:  c.caller(ctx, r.GetRequestId(), r.GetReason()),
		Service: r.GetService(), Rollout: r.GetRolloutId(), Spec: r.GetSpec(), SpecHash: r.GetSpecHash(),
		Change: c.fromChange(r.GetService(), r.GetChange()), OnOrphan: onOrphan,
		Driver: r.GetDriver(), Lease: lease, TakeOver: r.GetTakeOver(), Epoch: min(r.GetEpoch(), maxEpoch),
	}, c.err()
}

// fromChange reads what a rollout does to a service; nil when it does nothing.
func (c *checker) fromChange(name string, m *pb.RolloutChange) *claim.Change {
	if m == nil {
		return nil
	}
	change := &claim.Change{
		Kind: claim.Kind(c.enum("change.kind", m.GetKind())), Artifact: m.GetArtifact(), Version: m.GetVersion(),
		Steps: toLifecycleSteps(m.GetSteps()), NoSteps: m.GetNoSteps(),
		Hold: c.override("change.hold", m.GetHold()), Soak: c.override("change.soak", m.GetSoak()),
		Signature: m.GetSignature(), Force: m.GetForce(), HoldSoak: m.GetHoldSoak(),
	}
	if m.GetArtifact() != "" {
		c.failed("change.artifact", service.CheckArtifact(m.GetArtifact()))
	}
	c.text("change.version", m.GetVersion(), maxText)
	c.failed("change.steps", service.CheckSteps(fromSteps(m.GetSteps())))
	c.that(!m.GetNoSteps() || len(m.GetSteps()) == 0, "change.no_steps", "steps are given")
	c.that(len(m.GetSignature()) <= statement.MaxFile, "change.signature", fmt.Sprintf("more than %d bytes", statement.MaxFile))
	back, restart := change.Kind == claim.RollBack, change.Kind == claim.Restart
	c.that(m.GetVersion() == "" || (back && m.GetArtifact() == ""), "change.version", "goes with KIND_ROLLBACK, without an artifact")
	c.that(m.GetSpec() == nil || change.Kind == claim.Upgrade, "change.spec", "goes with KIND_UPGRADE")
	c.that(m.GetArtifact() == "" || !restart, "change.artifact", "does not go with KIND_RESTART, which runs what runs")
	if m.GetSpec() != nil {
		spec := c.spec(name, withArtifact(m.GetSpec(), m.GetArtifact()))
		change.Spec = &spec
	}
	return change
}

func toRollout(r supervisor.Rollout) *pb.RolloutReport {
	m := &pb.RolloutReport{
		Service: r.Service, RolloutId: r.Rollout, SpecHash: r.SpecHash, Progress: pb.RolloutReport_Progress(r.Progress), Revision: r.Revision,
		Reason: toReason(r.Reason), Message: text(r.Message), Predecessor: count(r.Predecessor), UpgradeId: r.Upgrade, Generation: count(r.Generation),
		Weight: count(r.Weight), ConnectionsLeft: optional(r.Left), Epoch: r.Epoch, LeaseEndTime: newTimestamp(r.LeaseEnd),
		Driver: text(r.Driver), Actor: text(r.Actor), Comment: text(r.Comment), ClaimTime: newTimestamp(r.ClaimedAt), ReleaseTime: newTimestamp(r.ReleasedAt),
		Ending: text(r.Ending), Missing: r.Missing, StartTime: newTimestamp(r.StartedAt), EndTime: newTimestamp(r.EndedAt),
		ClaimedByAdmin: r.Admin,
	}
	if r.Control.Revision > 0 {
		m.Control = &pb.RolloutControl{
			Paused: r.Control.Paused, PromotedWave: count(r.Control.PromotedWave), Abort: r.Control.Abort,
			Actor: text(r.Control.Actor), Reason: text(r.Control.Reason), Revision: r.Control.Revision,
		}
	}
	return m
}

func toFreeze(f *supervisor.Freeze) *pb.Freeze {
	if f == nil {
		return nil
	}
	return &pb.Freeze{Actor: text(f.Actor), Reason: text(f.Reason), CreateTime: newTimestamp(f.Since)}
}
