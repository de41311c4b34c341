package ctl

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/internal/spec"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

// order is a rollout as a command asks for it.
type order struct {
	service string
	action  rollout.Action
	options rollout.Options
	// release is what a host gets.
	release func(inventory.Host) (rollout.Release, error)
}

// newSpec decides once and for all what is done, and in which order.
func (s *session) newSpec(ctx context.Context, o order, hosts []inventory.Host, r *rolloutFlags, m *mutation) (rollout.Spec, error) {
	var none rollout.Spec
	policy, err := r.policy()
	if err != nil {
		return none, err
	}
	shape, err := r.shape(hosts)
	if err != nil {
		return none, err
	}
	targets, releases, err := o.releases(hosts)
	if err != nil {
		return none, err
	}
	plan, err := rollout.Arrange(targets, shape)
	if err != nil {
		return none, misuse(err)
	}
	gates, err := s.gates(ctx)
	if err != nil {
		return none, err
	}
	made, err := rollout.NewSpec(rollout.Spec{
		Service: o.service, Action: o.action, Releases: releases, Options: o.options, Plan: plan, Policy: policy,
		Gates: gates, Request: rollout.Request{ID: m.id(), Actor: actor(), Reason: m.reason},
	})
	if err != nil {
		return none, misuse(err)
	}
	return made, nil
}

// releases are what the hosts get; those for which that is equal share one.
func (o order) releases(hosts []inventory.Host) ([]rollout.Host, []rollout.Release, error) {
	targets := make([]rollout.Host, len(hosts))
	var releases []rollout.Release
	known := map[string]int{}
	for i, h := range hosts {
		r, err := o.release(h)
		if err != nil {
			return nil, nil, err
		}
		key := strings.Join([]string{r.Artifact, r.Version, string(r.Definition), string(r.Signature)}, "\x00")
		n, ok := known[key]
		if !ok {
			n = len(releases)
			known[key], releases = n, append(releases, r)
		}
		targets[i] = rollout.Host{Name: h.Name, Labels: h.Labels, Release: n}
	}
	if len(releases) > rollout.MaxReleases {
		return nil, nil, usage("the service file comes out in %d ways for %d hosts, and a rollout carries %d: roll out to fewer hosts at once, or leave {host...} out of it", len(releases), len(hosts), rollout.MaxReleases)
	}
	return targets, releases, nil
}

// gates are the hosts that decide between operators: those of --hosts, whatever each
// operator limits that to.
func (s *session) gates(ctx context.Context) ([]string, error) {
	choice, err := s.choice(ctx)
	if err != nil {
		return nil, err
	}
	choice.Limit = nil
	hosts, err := s.known.Choose(choice)
	return names(hosts), err
}

// actor is who asks, for people: agents know callers by their certificates.
func actor() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// upgradeOrder is what an upgrade brings to hosts.
type upgradeOrder struct {
	s         *session
	service   string
	text      *serviceText // nil: the recorded specification
	from      spec.Artifact
	signature func(spec.Artifact) ([]byte, error)
}

// release is what each host gets: one for all, unless the service file says otherwise.
func (u *upgradeOrder) release(hosts []inventory.Host) (func(inventory.Host) (rollout.Release, error), error) {
	if u.text != nil && u.text.varies() {
		return u.releaseOf, nil
	}
	r, err := u.releaseOf(hosts[0])
	return same(r), err
}

// releaseOf is what one host gets. Files are opened and hashed, nothing is sent.
func (u *upgradeOrder) releaseOf(host inventory.Host) (r rollout.Release, err error) {
	from := u.from
	var file *spec.File
	if u.text != nil {
		if file, err = u.text.decode(host); err != nil {
			return r, err
		}
		if file.Name != u.service {
			return r, usage("%s declares the service %s for the host %s, not %s", u.text.name, file.Name, host.Name, u.service)
		}
		if from == (spec.Artifact{}) {
			from = file.Artifact
		}
	}
	r.Artifact = from.Ref
	switch {
	case from.Path != "":
		up, err := u.s.stock.artifact(from.Path)
		if err != nil {
			return r, err
		}
		r.Artifact = up.header.GetDigest()
	case from.URL != "":
		if err := u.s.stock.remote(from); err != nil {
			return r, err
		}
		r.Artifact = from.Digest
	}
	if r.Signature, err = u.signature(from); err != nil || file == nil {
		return r, err
	}
	r.Definition, err = u.s.definition(file, r.Artifact)
	return r, err
}

// definition is a service file as a rollout carries it.
func (s *session) definition(file *spec.File, artifact string) ([]byte, error) {
	digests := map[string]string{}
	for name, path := range file.Files {
		up, err := s.stock.data(path)
		if err != nil {
			return nil, fmt.Errorf("files.%s: %w", name, err)
		}
		digests[name] = up.header.GetDigest()
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(file.ToProto(artifact, digests))
}

// wholeDigest completes a digest of which the first digits were given, by what the hosts
// hold.
func (s *session) wholeDigest(ctx context.Context, hosts []inventory.Host, ref string) (string, error) {
	if !strings.HasPrefix(ref, "sha256:") || spec.IsDigest(ref) {
		return ref, nil
	}
	var failed error
	for _, host := range hosts[:min(len(hosts), rollout.MaxGates)] {
		digest, err := visit(ctx, s, host, func(ctx context.Context, c *client) (string, error) { return c.fullDigest(ctx, ref) })
		if err == nil {
			return digest, nil
		}
		failed = err
	}
	return "", failed
}

// options are those of a request for one host.
func options(req *pb.StartUpgradeRequest) rollout.Options {
	o := rollout.Options{NoSteps: req.GetNoSteps(), Force: req.GetForce()}
	for _, step := range req.GetSteps() {
		o.Steps = append(o.Steps, int(step.GetWeight()))
	}
	if req.GetHold() != nil {
		hold := req.GetHold().AsDuration()
		o.Hold = &hold
	}
	if req.GetSoak() != nil {
		soak := req.GetSoak().AsDuration()
		o.Soak = &soak
	}
	return o
}
