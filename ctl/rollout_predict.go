package ctl

import (
	"context"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

// foreseen is how many hosts are asked before a rollout what it will take. Beyond that
// only --dry-run asks: each host is one more connection.
const foreseen = 200

// prospect is what one host says before a rollout.
type prospect struct {
	facts   rollout.HostFacts
	upgrade time.Duration // how long its upgrade takes by its specification
	refusal error         // why it would not take part
}

// foresee asks the hosts of a rollout what it will take.
func (s *session) foresee(ctx context.Context, spec rollout.Spec, hosts []inventory.Host) (rollout.Estimate, []reply[prospect], error) {
	release := map[string]rollout.Release{}
	for _, t := range spec.Plan.Targets {
		release[t.Name] = spec.Releases[t.Release]
	}
	facts := rollout.Facts{Hosts: map[string]rollout.HostFacts{}}
	for _, r := range spec.Releases {
		var full int64
		if up := s.stock.digest(r.Artifact, false); up != nil {
			full = up.header.GetSizeBytes()
		}
		facts.Sizes = append(facts.Sizes, full)
	}
	var replies []reply[prospect]
	err := fanOut(ctx, hosts, func(ctx context.Context, host inventory.Host) (prospect, error) {
		return visit(ctx, s, host, func(ctx context.Context, c *client) (prospect, error) {
			return c.prospect(ctx, spec, release[host.Name])
		})
	}, func(r reply[prospect]) error {
		replies = append(replies, r)
		if r.err == nil {
			facts.Hosts[r.host.Name] = r.answer.facts
			facts.Upgrade = max(facts.Upgrade, r.answer.upgrade)
		}
		return nil
	})
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return rollout.Foresee(spec, facts), replies, err
}

// prospect asks one host.
func (c *client) prospect(ctx context.Context, spec rollout.Spec, r rollout.Release) (p prospect, err error) {
	answer, err := c.services.GetService(ctx, &pb.GetServiceRequest{Name: spec.Service})
	if err != nil {
		return p, err
	}
	st := answer.GetStatus()
	active := generation(st, st.GetService().GetActiveGeneration())
	p.facts.Connections = -1
	if active != nil && active.OpenConnections != nil {
		p.facts.Connections = int(active.GetOpenConnections())
	}
	recorded := st.GetService().GetSpec()
	p.facts.DrainLimit = drainLimit(recorded.GetDrain()) // of the generation that will drain
	if next, err := definitionOf(r); err != nil {
		return p, err
	} else if next != nil {
		recorded = next
	}
	p.upgrade = upgradeTime(recorded.GetUpgrade(), spec.Options)
	if p.facts.Has, err = c.has(ctx, r.Artifact); err != nil {
		return p, err
	}
	if p.facts.Drains, err = c.drains(ctx, spec.Service); err != nil {
		return p, err
	}
	p.facts.Unchanged, p.refusal = c.wouldRun(ctx, spec, r)
	if notThere(p.refusal) {
		p.refusal = nil // it would be sent
	}
	return p, nil
}

// has says whether a host holds an artifact; one of its own it has anyway.
func (c *client) has(ctx context.Context, artifact string) (bool, error) {
	if !strings.HasPrefix(artifact, "sha256:") {
		return true, nil
	}
	held, err := c.artifacts.GetUploadStatus(ctx, &pb.GetUploadStatusRequest{Digest: artifact})
	return held.GetComplete(), err
}

// wouldRun says whether a release would change nothing, or why the host refuses it.
func (c *client) wouldRun(ctx context.Context, spec rollout.Spec, r rollout.Release) (unchanged bool, err error) {
	if spec.Action == rollout.ActionRollback {
		req := &pb.RollbackServiceRequest{Service: spec.Service, ValidateOnly: true}
		switch {
		case r.Artifact != "":
			req.Target = &pb.RollbackServiceRequest_Artifact{Artifact: r.Artifact}
		case r.Version != "":
			req.Target = &pb.RollbackServiceRequest_Version{Version: r.Version}
		}
		answer, err := c.upgrades.RollbackService(ctx, req)
		return answer.GetUnchanged(), err
	}
	req := &pb.StartUpgradeRequest{
		Service: spec.Service, Artifact: r.Artifact, Signature: r.Signature, Restart: spec.Action == rollout.ActionRestart,
		Force: spec.Options.Force, ValidateOnly: true,
	}
	if req.Spec, err = definitionOf(r); err != nil {
		return false, err
	}
	answer, err := c.upgrades.StartUpgrade(ctx, req)
	return answer.GetUnchanged(), err
}

// definitionOf is the specification that a release brings; nil when it brings none.
func definitionOf(r rollout.Release) (*pb.ServiceSpec, error) {
	if len(r.Definition) == 0 {
		return nil, nil
	}
	spec := &pb.ServiceSpec{}
	return spec, proto.Unmarshal(r.Definition, spec)
}

// drains are how long the host's own past drains took: from the promotion of what came
// after a generation to its end.
func (c *client) drains(ctx context.Context, service string) ([]time.Duration, error) {
	generations, err := c.listGenerations(ctx, service)
	if err != nil {
		return nil, err
	}
	upgrades, err := c.listUpgrades(ctx, service)
	if err != nil {
		return nil, err
	}
	ends := map[int32]time.Time{}
	for _, g := range generations {
		if g.GetState() == pb.Generation_STATE_STOPPED && g.GetEndTime() != nil {
			ends[g.GetNumber()] = g.GetEndTime().AsTime()
		}
	}
	var all []time.Duration
	for _, up := range upgrades {
		end, ended := ends[up.GetFromGeneration()]
		if up.GetState() != pb.Upgrade_STATE_SUCCEEDED || up.GetEndTime() == nil || !ended {
			continue
		}
		if took := end.Sub(up.GetEndTime().AsTime()); took >= 0 {
			all = append(all, took)
		}
	}
	return all, nil
}

// drainLimit is when a drain cuts what is left; 0 when it never does.
func drainLimit(d *pb.DrainPolicy) time.Duration {
	timeout := d.GetTimeout().AsDuration()
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	switch patience := d.GetPatience().AsDuration(); {
	case d.GetMode() == "signal":
		return timeout
	case patience > 0:
		return patience + timeout
	}
	return 0
}

// upgradeTime is how long an upgrade takes at least: steps, their hold, and the soak.
func upgradeTime(u *pb.UpgradePolicy, o rollout.Options) time.Duration {
	steps, hold, soak := len(u.GetSteps()), 10*time.Second, 10*time.Second
	if u.GetHold() != nil {
		hold = u.GetHold().AsDuration()
	}
	if u.GetSoak() != nil {
		soak = u.GetSoak().AsDuration()
	}
	if len(o.Steps) > 0 || o.NoSteps {
		steps = len(o.Steps)
	}
	if o.Hold != nil {
		hold = *o.Hold
	}
	if o.Soak != nil {
		soak = *o.Soak
	}
	return time.Duration(steps)*hold + soak
}
