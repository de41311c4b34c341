package spec

import "github.com/goccy/go-yaml/ast"

func (d *decoder) socketsOf(p *[]Socket) func(value) {
	return func(v value) {
		*p = []Socket{}
		first := map[string]int{}
		d.list(v, func(e value) {
			var s Socket
			seen := d.object(e, []field{
				{"name", d.nameOf(&s.Name)},
				{"listen", d.listenOf(&s.Listen)},
				{"backlog", d.countOf(&s.Backlog, 0)},
				{"mode", d.modeOf(&s.Mode)},
				{"v6only", d.flagOf(&s.V6Only)},
				{"freebind", d.flagOf(&s.FreeBind)},
				{"device", d.textOf(&s.Device)},
			})
			d.required(e, seen, "name", "listen")
			if i, ok := first[s.Name]; ok && s.Name != "" {
				d.fail(seen["name"], "sockets[%d] is called %q too: names tell sockets apart", i, s.Name)
			}
			first[s.Name] = len(*p)
			*p = append(*p, s)
		})
	}
}

// required fails for keys that a mapping lacks.
func (d *decoder) required(v value, seen map[string]value, keys ...string) {
	for _, key := range keys {
		if _, ok := seen[key]; !ok && seen != nil {
			d.fail(v, "the key %s is missing", key)
		}
	}
}

func (d *decoder) listenOf(p *string) func(value) {
	return func(v value) {
		s, ok := d.text(v)
		if !ok {
			return
		}
		if err := checkListen(s); err != nil {
			d.fail(v, "%v", err)
			return
		}
		*p = s
	}
}

func (d *decoder) upgradeOf(p **Upgrade) func(value) {
	return func(v value) {
		u := &Upgrade{}
		*p = u
		d.object(v, []field{
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
func (d *decoder) stepsOf(p *[]Step) func(value) {
	return func(v value) {
		*p = []Step{}
		d.list(v, func(e value) {
			var s Step
			switch e.node.(type) {
			case *ast.MappingNode, *ast.MappingValueNode:
				seen := d.object(e, []field{{"weight", d.percentOf(&s.Weight)}, {"manual", d.flagOf(&s.Manual)}})
				d.required(e, seen, "weight")
			default:
				d.percentOf(&s.Weight)(e)
			}
			*p = append(*p, s)
		})
	}
}

func (d *decoder) percentOf(p *int32) func(value) {
	return func(v value) {
		s, ok := d.text(v)
		if !ok {
			return
		}
		points, err := ParsePercent(s)
		if err != nil {
			d.fail(v, "%v", err)
			return
		}
		*p = points
	}
}

func (d *decoder) drainOf(p **Drain) func(value) {
	return func(v value) {
		n := &Drain{}
		*p = n
		d.object(v, []field{
			{"mode", d.wordOf(&n.Mode, "patient", "signal")},
			{"patience", d.durationOf(&n.Patience)},
			{"nudge", d.durationOf(&n.Nudge)},
			{"signal", d.textOf(&n.Signal)},
			{"timeout", d.durationOf(&n.Timeout)},
			{"max_generations", d.countOf(&n.MaxGenerations, 1)},
			{"at_deadline", d.wordOf(&n.AtDeadline, "kill", "close_connections")},
		})
	}
}

func (d *decoder) restartOf(p **Restart) func(value) {
	return func(v value) {
		r := &Restart{}
		*p = r
		d.object(v, []field{
			{"policy", d.wordOf(&r.Policy, "always", "on_failure", "never")},
			{"backoff", d.durationOf(&r.Backoff)},
			{"max_backoff", d.durationOf(&r.MaxBackoff)},
			{"hold", d.durationOf(&r.Hold)},
		})
	}
}
