package ctl

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
)

// done is what came of one host's part in a command.
type done struct {
	outcome string // in a report's words
	text    string // what to know of it
	more    object // the same, for programs
}

// part is what one of many hosts does in a command.
type part func(context.Context, inventory.Host, *client) (done, error)

// each has every host do something, some at once, and reports what came of it, host by
// host. Unlike sweep it waits for a host as long as that takes.
func (s *session) each(ctx context.Context, hosts []inventory.Host, do part) error {
	t := s.newColumns([]string{"HOST", "OUTCOME", "NOTE"}, names(hosts), len("would-change"))
	list := &hostList{s: s}
	show := func(host string, o object, d done) error {
		switch {
		case s.stream && s.structured():
			return s.recordOf(host, "host", time.Now(), o[1:])
		case s.structured():
			return list.add(o)
		}
		return t.add(cell{host, ""}, cell{d.outcome, outcomeColor(d.outcome)}, cell{d.text, ""})
	}
	end := func() error {
		if s.structured() && !s.stream {
			return list.end()
		}
		return nil
	}
	return s.perform(ctx, hosts, do, show, end)
}

// perform is each with another report: show tells of a host, end comes after them.
func (s *session) perform(ctx context.Context, hosts []inventory.Host, do part, show func(host string, o object, d done) error, end func() error) error {
	if err := s.dialable(hosts); err != nil {
		return err
	}
	var t tally
	var all []object
	err := fanOut(ctx, hosts, func(ctx context.Context, host inventory.Host) (done, error) {
		return s.act(ctx, host, do)
	}, func(r reply[done]) error {
		d := partOf(r)
		t.add(r.host.Name, d.outcome)
		o := append(object{{"host", r.host.Name}, {"outcome", d.outcome}}, d.more...)
		if s.stream {
			all = append(all, o)
		}
		return show(r.host.Name, o, d)
	})
	if err == nil {
		err = end()
	}
	if err != nil {
		return err
	}
	return s.sum(ctx, t, all)
}

// act has one host do its part.
func (s *session) act(ctx context.Context, host inventory.Host, do part) (done, error) {
	d, err := meet(ctx, s, host, func(ctx context.Context, c *client) (done, error) {
		c.moves = func(int64) {}
		return do(ctx, host, c)
	})
	if err != nil && ctx.Err() != nil {
		err = errors.Join(errSkipped, err)
	}
	return d, err
}

// partOf is what came of a host's part, also when nothing did.
func partOf(r reply[done]) done {
	if r.err == nil {
		return r.answer
	}
	d := done{outcome: r.outcome(), text: visible(words(r.err))}
	if heldElsewhere(r.err) {
		d.outcome = "held"
	}
	if errors.Is(r.err, errSkipped) {
		d.text = errSkipped.Error()
	}
	d.more = object{{"error", d.text}}
	return d
}

// heldElsewhere says whether somebody else is at it.
func heldElsewhere(err error) bool {
	switch api.ReasonOf(err) {
	case pb.Reason_REASON_UPGRADE_IN_PROGRESS, pb.Reason_REASON_UPLOAD_BUSY, pb.Reason_REASON_ROLLOUT_CLAIMED,
		pb.Reason_REASON_ROLLOUT_DRIVEN, pb.Reason_REASON_ROLLOUT_OVERTAKEN:
		return true
	}
	return false
}

// sum ends a command over many hosts, with the result where its output is records.
func (s *session) sum(ctx context.Context, t tally, all []object) error {
	err := s.account(ctx, t)
	if !s.stream || !s.structured() {
		return err
	}
	outcome := "succeeded"
	switch code := exitCode(ctx, err); code {
	case ExitDone:
	case ExitWouldChange:
		outcome = "would-change"
	case ExitDetached:
		outcome = "detached"
	default:
		outcome = "failed"
	}
	s.finished = true
	return errors.Join(s.recordOf("", "result", time.Now(), object{{"exitCode", exitCode(ctx, err)}, {"outcome", outcome}, {"id", ""}, {"hosts", all}}), err)
}

// confirmed demands that who stops or deletes a service on many hosts says its name
// once more.
func confirmed(verb, service, confirm string, hosts []inventory.Host) error {
	if confirm == service {
		return nil
	}
	return usage("%s %s on %d hosts, %s: if that is meant, say --confirm %s", verb, service, len(hosts), few(names(hosts)), service)
}

// outcomeColor is the colour of what came of a host.
func outcomeColor(outcome string) color {
	switch outcome {
	case "failed", "unreachable", "held":
		return colorBad
	case "rolled-back", "skipped", "not-started", "would-change", "in-progress":
		return colorWait
	case "unchanged":
		return colorDim
	}
	return colorGood
}

// changesText is differences in one line.
func changesText(all []*pb.FieldChange) string {
	var texts []string
	for _, c := range all {
		texts = append(texts, changeText(c))
	}
	return strings.Join(texts, "; ")
}
