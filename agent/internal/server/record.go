package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/audit"
	"github.com/gracefleet/gracefleet/agent/internal/fetch"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/internal/chain"
)

const (
	// What refused callers may fill the record with, bytes of lines a second and at
	// once: what is older must not be pushed out by that for some days. The others are
	// counted.
	refusalsOfCallers  = 1 << 10
	refusalsOfNobody   = 1 << 7
	refusalsAtOnce     = chain.MaxLine
	maxOwed            = 64
	methodLocalConnect = "connect to the local socket"
	methodHandshake    = "connect over the network"
	methodSeed         = "fetch an artifact as an agent"
	methodNotify       = "READY=1"
)

// record writes down who was allowed to change something, before it is done, and who
// was refused. It is safe for concurrent use.
type record struct {
	log     Audit
	notes   hclog.Logger
	callers *bound // of refusals of those who have a role
	nobody  *bound // of those who have none

	mu   sync.Mutex
	owed []audit.Entry // allowed when the disk was full
}

func newRecord(log Audit, notes hclog.Logger) *record {
	return &record{log: log, notes: notes, callers: newBound(refusalsOfCallers, refusalsAtOnce), nobody: newBound(refusalsOfNobody, refusalsAtOnce)}
}

// allowed records a change before it is made; on an error it is not to be made. What
// takes a failed upgrade back is made even when the disk is full, and recorded as
// soon as it can be.
func (r *record) allowed(e audit.Entry, may access.Permission) error {
	e.Decision = chain.Allowed
	if err := r.settle(); err != nil && may != access.Rollback {
		return notRecorded(err)
	}
	head, err := r.log.Append(e)
	switch {
	case err == nil:
		r.notes.Info("allowed", note(e, head)...)
		return nil
	case may != access.Rollback || !errors.Is(err, audit.ErrFull):
		return notRecorded(err)
	}
	if !r.owe(e) {
		return notRecorded(err)
	}
	r.notes.Error("allowed, and not recorded yet", append(note(e, head), "error", err)...)
	return nil
}

func notRecorded(err error) error {
	return fmt.Errorf("nothing was done, as it cannot be recorded: %w", err)
}

// owe keeps a line for later, if it has room for it.
func (r *record) owe(e audit.Entry) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.owed) >= maxOwed {
		return false
	}
	r.owed = append(r.owed, e)
	return true
}

// settle records what is owed.
func (r *record) settle() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.owed) > 0 {
		if _, err := r.log.Append(r.owed[0]); err != nil {
			return err
		}
		r.owed = r.owed[1:]
	}
	return nil
}

// denied records that somebody was refused. The refusal holds whether or not it can
// be recorded.
func (r *record) denied(e audit.Entry, why error) {
	from := r.callers
	if e.Role == "" {
		from = r.nobody
	}
	e.Decision, e.Why = chain.Denied, why.Error()
	leftOut, ok := from.next(len(chain.Encode(e)))
	if !ok {
		return
	}
	if leftOut > 0 {
		if e.Detail == nil {
			e.Detail = map[string]string{}
		}
		e.Detail["refused before and not recorded"] = fmt.Sprint(leftOut)
	}
	head, err := r.log.Append(e)
	if err != nil {
		r.notes.Error("denied, and not recorded", append(note(e, head), "error", err)...)
		return
	}
	r.notes.Warn("denied", note(e, head)...)
}

// refusals are what a handler says to callers who may make such a request, but not this
// one.
var refusals = []error{supervisor.ErrNotRoot, supervisor.ErrSignatureRequired, supervisor.ErrSignatureRefused, supervisor.ErrReleaseBelowFloor, fetch.ErrRefused}

// answered records a refusal by what does the work, after the line that says that its
// caller was let through.
func (s *Server) answered(ctx context.Context, method string, request any, err error) {
	if slices.ContainsFunc(refusals, func(is error) bool { return errors.Is(err, is) }) {
		s.record.denied(s.entry(ctx, method, request), err)
	}
}

// Forged records that a process of a service claimed to be what it is not.
func (s *Server) Forged(service string, pid int, why string) {
	from := fmt.Sprintf("process %d", pid)
	s.record.denied(audit.Entry{Actor: "service " + service, From: from, Method: methodNotify, Service: service}, errors.New(why))
}

// note is a line for the agent's own log, which is often kept elsewhere: with the
// hash in it, the record cannot be rewritten unnoticed.
func note(e audit.Entry, h audit.Head) []any {
	out := []any{"actor", e.Actor, "from", e.From, "method", e.Method, "service", e.Service}
	if e.Why != "" {
		out = append(out, "why", e.Why)
	}
	return append(out, "line", h.Seq, "hash", h.Hash)
}

// entry is what the record says of a call.
func (s *Server) entry(ctx context.Context, method string, request any) audit.Entry {
	c, _ := callerOf(ctx)
	e := audit.Entry{
		Actor: c.Name, From: c.From, Role: strings.Join(c.roles(s.Policy(), s.owner), ", "), Method: method,
		Service: clean(serviceOf(request), maxRecorded), Detail: detail(request),
	}
	if r, ok := request.(interface{ GetReason() string }); ok {
		e.Reason = r.GetReason()
	}
	if r, ok := request.(interface{ GetRequestId() string }); ok {
		e.RequestID = clean(r.GetRequestId(), maxRecorded)
	}
	return e
}

// admit lets a request through that its caller may make, and records it if it
// changes something.
func (s *Server) admit(ctx context.Context, method string, request any) error {
	err := s.authorise(ctx, method, request)
	if err == nil {
		err = s.spend(ctx, method)
	}
	if err != nil {
		s.record.denied(s.entry(ctx, method, request), err)
		return err
	}
	rule := rules[method]
	if dry, ok := request.(interface{ GetValidateOnly() bool }); !rule.mutates || (ok && dry.GetValidateOnly()) {
		return nil
	}
	return s.record.allowed(s.entry(ctx, method, request), rule.may)
}
