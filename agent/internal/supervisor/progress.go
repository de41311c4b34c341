package supervisor

import (
	"maps"
	"slices"
	"strings"

	"github.com/gracefleet/gracefleet/agent/internal/claim"
	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// keepClaim writes the record for a claim that changed.
func (o *owner) keepClaim() error {
	o.observe()
	if err := o.save(); err != nil {
		return err
	}
	o.publish()
	return nil
}

// observe brings the claim up to date with what the service does.
func (o *owner) observe() (moved bool) {
	c := o.rec.Rollouts.Held
	if c == nil {
		return false
	}
	f := claim.Facts{Missing: c.Progress == claim.Claimed && len(o.missing(c)) > 0, Upgrade: o.told(c.Upgrade), Return: o.told(c.Return)}
	if f.Upgrade != nil {
		f.Later = o.backFrom(f.Upgrade)
	}
	o.rec.Rollouts, moved = o.rec.Rollouts.Observe(f, o.wall())
	return moved
}

// backFrom is the latest rollback of what an upgrade has promoted; nil without one.
func (o *owner) backFrom(u *lifecycle.Upgrade) *lifecycle.Upgrade {
	for i := len(o.rec.Upgrades) - 1; i >= 0 && o.rec.Upgrades[i].ID != u.ID; i-- {
		later := &o.rec.Upgrades[i].Upgrade
		if later.From == u.To && (later.Kind == lifecycle.KindRollback || later.Kind == lifecycle.KindAutoRollback) {
			return later
		}
	}
	return nil
}

// told is what the history says of an upgrade; nil where it does not.
func (o *owner) told(id string) *lifecycle.Upgrade {
	if p := o.rec.upgrade(id); p != nil {
		return &p.Upgrade
	}
	return nil
}

// missing are the artifact and files of the change that the host lacks.
func (o *owner) missing(c *claim.Claim) []string {
	if c.Change == nil || c.Change.Kind != claim.Upgrade {
		return nil
	}
	spec := o.wanted(o.upgradeOf(c.Change, Caller{}))
	needed := slices.Collect(maps.Values(spec.Files))
	if !strings.HasPrefix(spec.Artifact, service.HostArtifact) {
		needed = append(needed, spec.Artifact)
	}
	slices.Sort(needed)
	return slices.DeleteFunc(slices.Compact(needed), o.host.Holds)
}
