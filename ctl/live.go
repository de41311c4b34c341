package ctl

import (
	"slices"
	"strings"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// live is the services on a terminal, redrawn in place.
type live struct {
	block
	colors   bool
	services []*pb.ServiceStatus // by name
	message  string
}

func (l *live) show(st *pb.ServiceStatus, now time.Time) {
	i, found := l.find(st.GetService().GetName())
	if found {
		l.services[i] = st
	} else {
		l.services = slices.Insert(l.services, i, st)
	}
	l.message = ""
	l.draw(now)
}

func (l *live) drop(service string) {
	if i, found := l.find(service); found {
		l.services = slices.Delete(l.services, i, i+1)
	}
	l.draw(time.Now())
}

func (l *live) find(name string) (int, bool) {
	return slices.BinarySearchFunc(l.services, name, func(st *pb.ServiceStatus, name string) int {
		return strings.Compare(st.GetService().GetName(), name)
	})
}

func (l *live) tick(now time.Time) { l.draw(now) }

func (l *live) note(text string) {
	l.message = text
	l.draw(time.Now())
}

func (l *live) draw(now time.Time) {
	var lines []string
	for i, st := range l.services {
		if i > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, statusLines(st, now, l.colors)...)
	}
	if l.message != "" {
		lines = append(lines, l.message)
	}
	l.replace(lines)
}
