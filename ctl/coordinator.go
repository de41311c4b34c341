package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/contexts"
	"github.com/gracefleet/gracefleet/ctl/internal/etcd"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
	"github.com/gracefleet/gracefleet/internal/pause"
)

// coordinatorPlace is what flags, environment or context say; nil when nothing does.
func (s *session) coordinatorPlace(named contexts.Context) (*etcd.Place, error) {
	text := cmp.Or(s.flags.coordinator, s.stdio.Getenv("GRACECTL_COORDINATOR"), named.Coordinator)
	switch {
	case s.flags.coordinator != "" && s.flags.noCoordinator:
		return nil, usage("--coordinator and --no-coordinator: say one of them")
	case s.flags.noCoordinator || text == "":
		return nil, nil
	}
	place, err := etcd.ParsePlace(text)
	if err != nil {
		return nil, usage("coordinator: %w", err)
	}
	return &place, nil
}

// etcdAccess is who asks an etcd: what the environment says, or else the context.
func (s *session) etcdAccess(named contexts.Context) etcd.Access {
	a := etcd.AccessFrom(s.stdio.Getenv)
	return etcd.Access{
		CAFile: cmp.Or(a.CAFile, named.EtcdCA), CertFile: cmp.Or(a.CertFile, named.EtcdCert), KeyFile: cmp.Or(a.KeyFile, named.EtcdKey),
		User: cmp.Or(a.User, named.EtcdUser), PasswordFile: cmp.Or(a.PasswordFile, named.EtcdPasswordFile),
	}
}

// coordinator opens it; nil without one.
func (s *session) coordinator(ctx context.Context) (*etcd.Client, error) {
	if s.to.coordinator == nil {
		return nil, nil
	}
	c, err := etcd.Open(ctx, *s.to.coordinator, s.to.etcd)
	if err != nil {
		return nil, fmt.Errorf("coordinator: %w", err)
	}
	return c, nil
}

// tenure is a service in the hand of one driver, whatever the hosts; nil without a
// coordinator.
type tenure struct {
	s      *session
	client *etcd.Client
	hold   *etcd.Hold
	spec   rollout.Spec
	begun  time.Time
}

// acquire has the coordinator give the service to this driver. It fails with a
// *runner.HeldError when somebody else has it, and when nobody answers: then nothing
// was begun.
func (s *session) acquire(ctx context.Context, d drive, driver string, tell func(string)) (*tenure, error) {
	c, err := s.coordinator(ctx)
	if c == nil || err != nil {
		return nil, withoutCoordinator(err)
	}
	t := &tenure{s: s, client: c, spec: d.spec, begun: time.Now()}
	who := etcd.Drive{
		Service: d.spec.Service, Rollout: d.spec.ID(), SpecHash: d.spec.Hash(), Actor: actor(), Driver: driver,
		Reason: cmp.Or(d.reason, d.spec.Request.Reason), Since: t.begun,
	}
	t.hold, err = s.take(ctx, c, who, d, tell)
	if err == nil {
		return t, nil
	}
	c.Close()
	var held *etcd.HeldError
	if !errors.As(err, &held) {
		return nil, withoutCoordinator(fmt.Errorf("coordinator: %w", err))
	}
	if held.By.SpecHash == who.SpecHash {
		s.awaitBegun(ctx, held.By)
	}
	return nil, heldByCoordinator(held, who.Rollout)
}

func withoutCoordinator(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: nothing was begun; with --no-coordinator the hosts alone keep operators apart, each for itself", err)
}

// take waits for the lease of a driver that the hosts know to be gone already.
func (s *session) take(ctx context.Context, c *etcd.Client, who etcd.Drive, d drive, tell func(string)) (*etcd.Hold, error) {
	waiting := false
	for limit := time.Now().Add(etcd.IdleLimit); ; _ = pause.For(ctx, time.Second) {
		hold, err := c.Acquire(ctx, who, d.takeOver, tell)
		var held *etcd.HeldError
		if !d.idle || !errors.As(err, &held) || held.By.Rollout != who.Rollout || time.Now().After(limit) || ctx.Err() != nil {
			return hold, err
		}
		if !waiting {
			tell(fmt.Sprintf("the driver before, of %s, is gone: the coordinator will know within %v", held.By.Actor, etcd.IdleLimit))
			waiting = true
		}
	}
}

// awaitBegun waits until hosts know of a rollout that has only just been given its
// service, so that it can be watched.
func (s *session) awaitBegun(ctx context.Context, by etcd.Drive) {
	hosts, looker := names(s.fleet()), s.looker()
	for limit := time.Now().Add(etcd.IdleLimit); ctx.Err() == nil && time.Now().Before(limit); _ = pause.For(ctx, time.Second/2) {
		if _, err := looker.Look(ctx, by.Service, by.Rollout, hosts); !errors.Is(err, runner.ErrNoRollout) {
			return
		}
	}
}

// heldByCoordinator is as if a host had said so.
func heldByCoordinator(held *etcd.HeldError, own string) *runner.HeldError {
	by, reason := held.By, pb.Reason_REASON_ROLLOUT_CLAIMED
	if by.Rollout == own {
		reason = pb.Reason_REASON_ROLLOUT_DRIVEN
	}
	return &runner.HeldError{
		Host: "coordinator", Reason: reason, Rollout: by.Rollout, SpecHash: by.SpecHash, Driver: by.Driver, Actor: by.Actor,
		Time: by.Since, Message: held.Error(),
	}
}

// epoch is the least one to claim hosts with.
func (t *tenure) epoch() int64 {
	if t == nil {
		return 0
	}
	return t.hold.Epoch()
}

// end gives the service up and has the coordinator keep what came of the rollout; state
// is nil when it never began. A coordinator that is away has no say in that.
func (t *tenure) end(ctx context.Context, state *rollout.State) {
	if t == nil {
		return
	}
	if err := t.hold.Release(ctx, t.record(state)); err != nil {
		t.s.note("coordinator: %v: the service is free there within %v, and the rollout may be missing in its history", err, etcd.IdleLimit)
	}
	t.client.Close()
}

// record is nil for what another driver goes on with, or another rollout kept from
// beginning.
func (t *tenure) record(state *rollout.State) *etcd.Record {
	if state == nil || state.Ending == rollout.Fenced || state.Ending == rollout.Refused {
		return nil
	}
	return &etcd.Record{
		Service: t.spec.Service, Rollout: t.spec.ID(), SpecHash: t.spec.Hash(), Actor: t.spec.Request.Actor, Reason: t.spec.Request.Reason,
		Begun: t.begun, Ended: time.Now(), Ending: state.Ending.String(), Hosts: countOutcomes(state.Results()),
	}
}
