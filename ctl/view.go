package ctl

import (
	"io"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// view is what is seen of services while they change. One goroutine calls it.
type view interface {
	// show takes a service as it stands.
	show(st *pb.ServiceStatus, now time.Time)
	// drop forgets a service that was deleted.
	drop(service string)
	// tick comes every second.
	tick(now time.Time)
	// note says something about the watch itself.
	note(text string)
	// clear ends the view and leaves nothing half drawn.
	clear()
}

// progress is the view of an upgrade: records on stdout, or people's on stderr.
func (s *session) progress() view {
	if s.structured() {
		return &records{s: s}
	}
	return s.people(s.stdio.Err)
}

// people is a view for people: live on a terminal, else a line per change.
func (s *session) people(w io.Writer) view {
	if f, ok := s.animated(w); ok {
		return &live{block: block{file: f}, colors: s.colored(w)}
	}
	return &lines{w: w, errors: s.stdio.Err}
}

// records writes every look as a record.
type records struct{ s *session }

func (r *records) show(st *pb.ServiceStatus, now time.Time) {
	_ = r.s.record("status", now, message(st))
}

func (r *records) drop(service string) {
	_ = r.s.record("deleted", time.Now(), object{{"service", service}})
}

func (r *records) tick(time.Time)   {}
func (r *records) note(text string) { r.s.note("%s", text) }
func (r *records) clear()           {}

// quiet is the view of one host among many: nobody looks.
type quiet struct{}

func (quiet) show(*pb.ServiceStatus, time.Time) {}
func (quiet) drop(string)                       {}
func (quiet) tick(time.Time)                    {}
func (quiet) note(string)                       {}
func (quiet) clear()                            {}
