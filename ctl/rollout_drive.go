package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
)

// heldUpPatience is how long a driver stays while only hosts that are out of reach hold
// the rollout up.
const heldUpPatience = time.Minute

// drive is how one run drives a rollout.
type drive struct {
	spec      rollout.Spec
	command   rollout.EventType // given before any host is asked
	takeOver  bool
	reason    string // of going on; empty means the rollout's
	undoes    bool   // the command is about a rollout that has ended
	requestID string
	idle      bool // the hosts say that nobody drives it
	// from is where the spec was found; nil when it is this command's own.
	from *runner.Sight
	// commands may run that the spec brings: those of checks here, and those of a
	// definition on hosts.
	commands  bool
	notify    []string
	predicted *rollout.Estimate // nil when nothing was foreseen
	seeds     int               // hosts that get files from here; 0: all of them
}

// drive drives a rollout, shows it, and ends with what came of it. Who finds the same
// rollout under way attaches to it: as its driver when nobody is, else as one who watches,
// until it is over or its driver is gone.
func (s *session) drive(ctx context.Context, d drive) error {
	for {
		if err := d.mayRun(); err != nil {
			return err
		}
		state, sc, err := s.runRollout(ctx, d)
		var held *runner.HeldError
		switch {
		case !errors.As(err, &held):
			return s.concludeRollout(ctx, d, sc, state, err)
		case !d.attaches(held):
			return s.refused(ctx, held, s.resultOf(sc, &state))
		}
		s.note("%s: the same rollout is under way as %s of %s: attached to it", d.spec.Service, visible(held.Rollout), orDash(held.Actor))
		sight, err := s.watchRollout(ctx, d.spec.Service, held.Rollout, func(sight *runner.Sight) bool { return sight.Driven() == nil })
		switch {
		case err != nil:
			return err
		case sight.State.Phase == rollout.Ended || ctx.Err() != nil:
			return s.concludeRollout(ctx, d, sceneOf(sight), sight.State, nil)
		}
		s.note("%s: nobody drives %s: this command does from now on", d.spec.Service, sight.Spec.ID())
		if sight.Spec.Hash() != d.spec.Hash() {
			d.commands, d.from = false, sight
		}
		d.spec = sight.Spec
	}
}

// attaches says whether what is under way is what was asked for.
func (d *drive) attaches(held *runner.HeldError) bool {
	switch {
	case d.command == rollout.Abort, held.Reason == pb.Reason_REASON_ROLLOUT_OVERTAKEN:
		return false
	}
	return held.Reason == pb.Reason_REASON_ROLLOUT_DRIVEN || held.SpecHash == d.spec.Hash()
}

// runRollout runs the driver, and shows what happens meanwhile.
func (s *session) runRollout(ctx context.Context, d drive) (rollout.State, *scene, error) {
	sc := newScene(d.spec)
	show := s.startShow(sc, d.notify)
	driver := driverName()
	t, err := s.acquire(ctx, d, driver, func(text string) { show.tell(visible(text)) })
	if err != nil {
		show.end(nil)
		return rollout.New(d.spec), sc, err
	}
	g := newSeeding(d.seeds)
	byName := s.hostsByName()
	r, err := runner.New(d.spec, runner.Options{
		Dial:      s.dialer(),
		Address:   func(name string) string { return byName[name].Place() },
		Deliver:   s.delivery(d.spec, g),
		Driver:    driver,
		Epoch:     t.epoch(),
		TakeOver:  d.takeOver,
		Reason:    d.reason,
		RequestID: d.requestID,
		Command:   d.command,
		Why:       d.why(),
		Commands:  d.commands,
		Patience:  heldUpPatience,
		Observe:   show.observe,
	})
	if err != nil {
		t.end(ctx, nil)
		show.end(nil)
		return rollout.State{}, sc, err
	}
	state, err := r.Run(ctx)
	t.end(ctx, &state)
	show.end(&state)
	g.note(s.note)
	return state, sc, err
}

// why says who takes a rollout back, and what for.
func (d *drive) why() string {
	text := "aborted by " + actor()
	if d.undoes {
		text = "rolled back by " + actor()
	}
	if d.reason != "" {
		text += ": " + d.reason
	}
	return text
}

// driverName is another one for each process.
func driverName() string { return fmt.Sprintf("%s/%d/%s", actor(), os.Getpid(), api.NewRequestID()) }

// fleet is all hosts that are known by name.
func (s *session) fleet() []inventory.Host {
	if s.known != nil {
		return s.known.Hosts
	}
	return s.chosen
}

// dialer connects to hosts by their names.
func (s *session) dialer() func(context.Context, string) (*grpc.ClientConn, error) {
	byName := s.hostsByName()
	return func(ctx context.Context, name string) (*grpc.ClientConn, error) {
		host, ok := byName[name]
		if !ok {
			return nil, fmt.Errorf("host %s is not in the inventory %s", name, s.to.inventory)
		}
		if err := knock(ctx, host.Address); err != nil {
			return nil, err
		}
		return s.dial(host)
	}
}

func (s *session) hostsByName() map[string]inventory.Host {
	byName := make(map[string]inventory.Host, len(s.fleet()))
	for _, h := range s.fleet() {
		byName[h.Name] = h
	}
	return byName
}

// refused ends a rollout that somebody else keeps from going on.
func (s *session) refused(ctx context.Context, held *runner.HeldError, r rolloutResult) error {
	r.code, r.outcome = ExitHeld, "held"
	r.details = []string{"held: " + visible(held.Error())}
	if s.structured() {
		r.text += ": " + visible(held.Error()) // programs get no details
	}
	if held.Rollout == "" {
		return s.concludeResult(r)
	}
	who := fmt.Sprintf("rollout %s of %s", visible(held.Rollout), visible(orDash(held.Actor)))
	if !held.Time.IsZero() && held.Reason == pb.Reason_REASON_ROLLOUT_CLAIMED {
		who += " since " + minute(held.Time)
	}
	if sight, err := s.look(ctx, names(s.fleet()), held.Rollout); err == nil && sight.Spec.Request.Reason != "" {
		who += ": " + visible(sight.Spec.Request.Reason)
	}
	r.details = append(append(r.details, who), s.waysOf(visible(held.Rollout), "status", "watch", "abort")...)
	return s.concludeResult(r)
}

// looker asks agents about rollouts.
func (s *session) looker() runner.Looker { return runner.Looker{Dial: s.dialer()} }
