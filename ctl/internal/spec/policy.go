package spec

import "github.com/gracefleet/gracefleet/ctl/internal/strict"

func (d *decoder) socketsOf(p *[]Socket) func(strict.Value) {
	return func(v strict.Value) {
		*p = []Socket{}
		first := map[string]int{}
		d.List(v, func(e strict.Value) {
			var s Socket
			seen := d.Object(e, []strict.Field{
				{"name", d.nameOf(&s.Name)},
				{"listen", d.listenOf(&s.Listen)},
				{"backlog", d.countOf(&s.Backlog, 0)},
				{"mode", d.modeOf(&s.Mode)},
				{"v6only", d.flagOf(&s.V6Only)},
				{"freebind", d.flagOf(&s.FreeBind)},
				{"device", d.TextOf(&s.Device)},
			})
			d.Required(e, seen, "name", "listen")
			if i, ok := first[s.Name]; ok && s.Name != "" {
				d.Fail(seen["name"], "sockets[%d] is called %q too: names tell sockets apart", i, s.Name)
			}
			first[s.Name] = len(*p)
			*p = append(*p, s)
		})
	}
}

func (d *decoder) listenOf(p *string) func(strict.Value) {
	return strict.ParsedOf(d.Decoder, p, func(text string) (string, error) { return text, checkListen(text) })
}

func (d *decoder) upgradeOf(p **Upgrade) func(strict.Value) {
	return func(v strict.Value) {
		u := &Upgrade{}
		*p = u
		d.Object(v, []strict.Field{
			{"steps", d.stepsOf(&u.Steps)},
			{"hold", d.durationOf(&u.Hold)},
			{"min_connections", d.countOf(&u.MinConnections, 0)},
			{"step_timeout", d.durationOf(&u.StepTimeout)},
			{"soak", d.durationOf(&u.Soak)},
			{"rollback_window", d.durationOf(&u.RollbackWindow)},
			{"check", d.checkOf(&u.Check)},
			{"overlap", d.wordOf(&u.Overlap, "full", "none")},
			{"overlap_limit", d.durationOf(&u.OverlapLimit)},
		})
	}
}

// stepsOf reads steps: 1%, or {weight: 10%, manual: true}.
func (d *decoder) stepsOf(p *[]Step) func(strict.Value) {
	return func(v strict.Value) {
		*p = []Step{}
		d.List(v, func(e strict.Value) {
			var s Step
			if e.IsMapping() {
				seen := d.Object(e, []strict.Field{{"weight", d.percentOf(&s.Weight)}, {"manual", d.flagOf(&s.Manual)}})
				d.Required(e, seen, "weight")
			} else {
				d.percentOf(&s.Weight)(e)
			}
			*p = append(*p, s)
		})
	}
}

func (d *decoder) percentOf(p *int32) func(strict.Value) {
	return strict.ParsedOf(d.Decoder, p, ParsePercent)
}

func (d *decoder) drainOf(p **Drain) func(strict.Value) {
	return func(v strict.Value) {
		n := &Drain{}
		*p = n
		d.Object(v, []strict.Field{
			{"mode", d.wordOf(&n.Mode, "patient", "signal")},
			{"patience", d.durationOf(&n.Patience)},
			{"nudge", d.durationOf(&n.Nudge)},
			{"signal", d.TextOf(&n.Signal)},
			{"timeout", d.durationOf(&n.Timeout)},
			{"max_generations", d.countOf(&n.MaxGenerations, 1)},
			{"at_deadline", d.wordOf(&n.AtDeadline, "kill", "close_connections")},
		})
	}
}

func (d *decoder) restartOf(p **Restart) func(strict.Value) {
	return func(v strict.Value) {
		r := &Restart{}
		*p = r
		d.Object(v, []strict.Field{
			{"policy", d.wordOf(&r.Policy, "always", "on_failure", "never")},
			{"backoff", d.durationOf(&r.Backoff)},
			{"max_backoff", d.durationOf(&r.MaxBackoff)},
			{"hold", d.durationOf(&r.Hold)},
		})
	}
}
