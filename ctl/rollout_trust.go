package ctl

import (
	"slices"
	"strings"

	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
)

// mayRun refuses to have run what nobody here has asked for. Hosts have the rollout
// recorded, but whoever may upgrade a service can record what they like: only who drives
// it does what it says, in their own name.
func (d *drive) mayRun() error {
	if d.commands {
		return nil
	}
	id := d.spec.ID()
	for _, c := range d.spec.Policy.Checks {
		if len(c.Command) > 0 {
			return usage("rollout %s checks hosts by a program on the driver's machine, %q: if it is to run here, say --allow-commands", id, strings.Join(c.Command, " "))
		}
	}
	if host, actor := undeclared(d.from); host != "" {
		return usage("rollout %s says what hosts run, and who has claimed %s for it, %s, may not declare services there: "+
			"begin it again from its files, or, if hosts are to run what it says, say --allow-commands", id, host, visible(orDash(actor)))
	}
	return nil
}

// undeclared is a host where a rollout that brings a definition, or has hosts run a
// program of theirs, was claimed by somebody who may not do that; "" without one.
func undeclared(from *runner.Sight) (host, actor string) {
	if from == nil || !slices.ContainsFunc(from.Spec.Releases, declares) {
		return "", ""
	}
	for _, host := range append(slices.Clone(from.Spec.Gates), targetNames(from.Spec)...) {
		if r := from.Reports[host]; r != nil && !r.GetClaimedByAdmin() {
			return host, r.GetActor()
		}
	}
	return "", ""
}

func declares(r rollout.Release) bool {
	return len(r.Definition) > 0 || strings.HasPrefix(r.Artifact, "host:")
}

func targetNames(spec rollout.Spec) []string {
	out := make([]string, len(spec.Plan.Targets))
	for i, t := range spec.Plan.Targets {
		out[i] = t.Name
	}
	return out
}
