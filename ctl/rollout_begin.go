package ctl

import (
	"context"

	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/internal/spec"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

// rollOut does an order on many hosts: says what it would do, or does it.
func (s *session) rollOut(ctx context.Context, o order, hosts []inventory.Host, r *rolloutFlags, m *mutation, wait string) error {
	if wait != "promoted" {
		return usage("--wait %s is for one host: a rollout goes on when hosts are promoted", wait)
	}
	if r.seeds < 0 {
		return usage("--seeds %d: want the number of hosts that get the artifact from here", r.seeds)
	}
	if err := checkNotify(r.notify); err != nil {
		return err
	}
	made, err := s.newSpec(ctx, o, hosts, r, m)
	if err != nil {
		return err
	}
	if err := s.dialable(hosts); err != nil {
		return err
	}
	d := drive{spec: made, requestID: m.id(), commands: true, notify: r.notify, seeds: r.seeds}
	if !m.dryRun && len(hosts) > foreseen {
		return s.drive(ctx, d)
	}
	estimate, replies, err := s.foresee(ctx, made, hosts)
	switch {
	case err != nil:
		return err
	case m.dryRun:
		return s.concludePlan(ctx, made, estimate, replies)
	}
	d.predicted = &estimate
	return s.drive(ctx, d)
}

// same is one release for every host.
func same(r rollout.Release) func(inventory.Host) (rollout.Release, error) {
	return func(inventory.Host) (rollout.Release, error) { return r, nil }
}

// upgradeHosts upgrades a service on many hosts.
func (s *session) upgradeHosts(ctx context.Context, hosts []inventory.Host, p *plan, u *upgradeFlags) error {
	switch {
	case u.forceOldest:
		return usage("--force-oldest is for one host: say which generation may be cut there")
	case u.breakGlass:
		return usage("--break-glass is for one host at a time")
	}
	ref, err := s.wholeDigest(ctx, hosts, p.from.Ref)
	if err != nil {
		return err
	}
	p.from.Ref = ref
	brings := &upgradeOrder{s: s, service: p.request.GetService(), text: p.text, from: p.from, signature: func(a spec.Artifact) ([]byte, error) {
		signature, _, err := u.bring(a, u.reason)
		return signature, err
	}}
	release, err := brings.release(hosts)
	if err != nil {
		return err
	}
	o := order{service: brings.service, action: rollout.ActionUpgrade, options: options(p.request), release: release}
	return s.rollOut(ctx, o, hosts, &u.rollout, &u.mutation, u.wait)
}
