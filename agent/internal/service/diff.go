package service

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ETag names the content of a specification: two equal ones have the same.
func ETag(s Spec) string {
	// A Spec holds nothing that JSON cannot express, and maps are sorted.
	data, _ := json.Marshal(s)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:12])
}

// Diff lists what changes from a to b, by the keys of the service file and in
// its order. Values are as a person would write them; those of environment
// variables are never shown, since they may be secrets.
func Diff(a, b Spec) []Change {
	before, after := rowsOf(a), rowsOf(b)
	var changes []Change
	for _, field := range union(before.order, after.order) {
		from, to := before.value[field], after.value[field]
		if from == to {
			continue
		}
		if strings.HasPrefix(field, "env.") {
			from, to = hide(from, to)
		}
		changes = append(changes, Change{Field: field, From: from, To: to, Immediate: immediate(field)})
	}
	return changes
}

// hide replaces the values of an environment variable.
func hide(from, to string) (string, string) {
	switch {
	case from == "":
		return "", "(set)"
	case to == "":
		return "(set)", ""
	default:
		return "(set)", "(changed)"
	}
}

// immediate fields are policies of the agent; no program sees them.
func immediate(field string) bool {
	top, _, _ := strings.Cut(field, ".")
	return slices.Contains([]string{"drain", "restart", "upgrade", "keep_generations"}, top)
}

// union keeps the order of a and puts what only b has behind its predecessor.
func union(a, b []string) []string {
	all := slices.Clone(a)
	at := 0
	for _, field := range b {
		if i := slices.Index(all, field); i >= 0 {
			at = i + 1
			continue
		}
		all = slices.Insert(all, at, field)
		at++
	}
	return all
}

// rows is a specification as keys and values. A value is empty when unset.
type rows struct {
	order []string
	value map[string]string
}

func (r *rows) add(field, value string) {
	if value == "" {
		return
	}
	r.order = append(r.order, field)
	r.value[field] = value
}

func rowsOf(s Spec) *rows {
	r := &rows{value: map[string]string{}}
	r.add("artifact", s.Artifact)
	r.add("command", formatWords(s.Command))
	r.add("args", formatWords(s.Args))
	for _, name := range sortedKeys(s.Files) {
		r.add("files."+name, s.Files[name])
	}
	for _, name := range sortedKeys(s.Credentials) {
		r.add("credentials."+name, s.Credentials[name])
	}
	r.add("env_file", s.EnvFile)
	for _, name := range sortedKeys(s.Env) {
		r.add("env."+name, "="+s.Env[name])
	}
	r.add("user", s.User)
	r.add("working_directory", s.WorkingDirectory)
	r.add("preset", s.Preset)
	r.add("handover.dialect", s.Handover.Dialect)
	for _, name := range sortedKeys(s.Handover.Env) {
		r.add("handover.env."+name, "="+s.Handover.Env[name])
	}
	r.sockets(s.Sockets)
	r.add("ready.timeout", formatDuration(s.Readiness.Timeout))
	r.probe("ready", s.Readiness.Probe)
	r.upgrade(s.Upgrade)
	r.add("drain.mode", string(s.Drain.Mode))
	r.add("drain.patience", formatDuration(s.Drain.Patience))
	if s.Drain.Nudge != 0 {
		r.add("drain.nudge", formatDuration(s.Drain.Nudge))
	}
	if s.Drain.CloseConnections {
		r.add("drain.at_deadline", "close_connections")
	}
	r.add("drain.signal", formatSignal(s.Drain.Signal))
	r.add("drain.timeout", formatDuration(s.Drain.Timeout))
	r.add("drain.max_generations", fmt.Sprint(s.Drain.MaxGenerations))
	r.add("restart.policy", string(s.Restart.Policy))
	r.add("restart.backoff", formatDuration(s.Restart.Backoff))
	r.add("restart.max_backoff", formatDuration(s.Restart.MaxBackoff))
	r.add("restart.hold", formatDuration(s.Restart.Hold))
	r.add("keep_generations", fmt.Sprint(s.KeepGenerations))
	return r
}

// sockets also has a row for their order: it is that of the descriptors.
func (r *rows) sockets(list []Socket) {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.Name
	}
	r.add("sockets", strings.Join(names, ", "))
	for _, s := range list {
		r.add("sockets."+s.Name, formatSocket(s))
	}
}

func (r *rows) probe(field string, p Probe) {
	if p.Notify {
		r.add(field+".notify", "{}")
	}
	if p.ParentSignal {
		r.add(field+".parent_signal", "{}")
	}
	if p.AliveFor != 0 {
		r.add(field+".alive_for", formatDuration(p.AliveFor))
	}
	if p.HTTP != nil {
		r.add(field+".http", formatHTTP(*p.HTTP))
	}
	if p.GRPC != nil {
		r.add(field+".grpc", formatFields("socket", p.GRPC.Socket, "service", p.GRPC.Service, "tls", formatTLS(p.GRPC.TLS)))
	}
	if p.TCP != nil {
		r.add(field+".tcp", formatFields("socket", p.TCP.Socket, "tls", formatTLS(p.TCP.TLS)))
	}
	if p.Exec != nil {
		r.add(field+".exec", formatFields("command", formatWords(p.Exec.Command)))
	}
}

func (r *rows) upgrade(u Upgrade) {
	r.add("upgrade.steps", formatSteps(u.Steps))
	r.add("upgrade.hold", formatDuration(u.Hold))
	r.add("upgrade.min_connections", fmt.Sprint(u.MinConnections))
	r.add("upgrade.step_timeout", formatDuration(u.StepTimeout))
	r.add("upgrade.soak", formatDuration(u.Soak))
	r.add("upgrade.rollback_window", formatDuration(u.RollbackWindow))
	if u.NoOverlap {
		r.add("upgrade.overlap", "none")
		r.add("upgrade.overlap_limit", formatDuration(u.OverlapLimit))
	}
	if u.Check == nil {
		return
	}
	r.probe("upgrade.check", u.Check.Probe)
	r.add("upgrade.check.interval", formatDuration(u.Check.Interval))
	r.add("upgrade.check.failures", fmt.Sprint(u.Check.Failures))
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
