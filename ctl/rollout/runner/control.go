package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

var actions = map[rollout.EventType]pb.ControlRolloutRequest_Action{
	rollout.Pause:   pb.ControlRolloutRequest_ACTION_PAUSE,
	rollout.Resume:  pb.ControlRolloutRequest_ACTION_RESUME,
	rollout.Promote: pb.ControlRolloutRequest_ACTION_PROMOTE,
	rollout.Abort:   pb.ControlRolloutRequest_ACTION_ABORT,
}

// Command leaves the hosts a word of an operator, as ControlRollout does, while Run
// runs: rollout.Pause, Resume, Promote or Abort. It returns once a host has written it
// down, from which the runner hears it. The error is one of package rollout's where the
// machine refuses it. It is safe for concurrent use.
func (r *Runner) Command(ctx context.Context, e rollout.EventType, reason string) error {
	s := r.current.Load()
	if s == nil {
		return errors.New("the rollout is not driven yet: try again")
	}
	action, ok := actions[e]
	if !ok {
		return fmt.Errorf("%d is no command: want Pause, Resume, Promote or Abort", e)
	}
	if _, err := rollout.Step(*s, rollout.Event{Type: e, At: 1}); err != nil {
		return err
	}
	err := errors.New("no host has given its claim yet: try again")
	for _, effect := range s.Effects() {
		if effect.Kind != rollout.Lease || !effect.Listens {
			continue
		}
		t := &task{Runner: r, Effect: effect, host: r.hosts[effect.Host]}
		if err = t.say(ctx, action, reason, s.Wave+2); err == nil {
			return nil
		}
	}
	return err
}

// say leaves the word at one host, and reports it as heard.
func (t *task) say(ctx context.Context, action pb.ControlRolloutRequest_Action, reason string, wave int) error {
	req := &pb.ControlRolloutRequest{
		Service: t.spec.Service, RolloutId: t.id, Action: action,
		Reason: reason, RequestId: cmp.Or(t.o.RequestID, t.spec.Request.ID),
	}
	if action == pb.ControlRolloutRequest_ACTION_PROMOTE {
		req.Wave = int32(wave)
	}
	report, err := t.attempt(ctx, func(ctx context.Context, c pb.RolloutServiceClient) (*pb.RolloutReport, error) {
		answer, err := c.ControlRollout(ctx, req)
		return answer.GetReport(), err
	})
	if err != nil {
		return err
	}
	t.report(ctx, report)
	return nil
}
