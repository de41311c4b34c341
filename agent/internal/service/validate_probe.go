package service

import (
	"slices"
	"strings"
	"time"
)

// kinds lists the probe's kinds by their keys.
func (p Probe) kinds() []string {
	var list []string
	for _, k := range []struct {
		name string
		set  bool
	}{
		{"notify", p.Notify},
		{"parent_signal", p.ParentSignal},
		{"http", p.HTTP != nil},
		{"grpc", p.GRPC != nil},
		{"tcp", p.TCP != nil},
		{"exec", p.Exec != nil},
		{"alive_for", p.AliveFor != 0},
	} {
		if k.set {
			list = append(list, k.name)
		}
	}
	return list
}

func (c *checker) readiness(s Spec) {
	r := s.Readiness
	c.duration("ready.timeout", r.Timeout, 10*time.Millisecond, day)
	if kinds := r.kinds(); len(kinds) != 1 {
		c.add("ready", "exactly one of notify, http, grpc, tcp, exec, parent_signal, alive_for: got %s", listed(kinds))
		return
	}
	if r.AliveFor != 0 {
		c.duration("ready.alive_for", r.AliveFor, time.Millisecond, day)
		c.that(r.AliveFor < r.Timeout, "ready.alive_for", "%s is not less than ready.timeout, %s: nothing would ever be ready", formatDuration(r.AliveFor), formatDuration(r.Timeout))
	}
	c.probe("ready", r.Probe, s.Sockets)
}

func (c *checker) check(k *Check, sockets []Socket) {
	if k == nil {
		return
	}
	const field = "upgrade.check"
	c.duration(field+".interval", k.Interval, 100*time.Millisecond, time.Hour)
	c.number(field+".failures", k.Failures, 1, 1000)
	kinds := k.kinds()
	if len(kinds) != 1 || k.Notify || k.ParentSignal || k.AliveFor != 0 {
		c.add(field, "exactly one of http, grpc, tcp, exec: got %s", listed(kinds))
		return
	}
	c.probe(field, k.Probe, sockets)
}

func listed(kinds []string) string {
	if len(kinds) == 0 {
		return "none"
	}
	return strings.Join(kinds, ", ")
}

func (c *checker) probe(field string, p Probe, sockets []Socket) {
	switch {
	case p.HTTP != nil:
		c.http(field+".http", *p.HTTP, sockets)
	case p.GRPC != nil:
		c.stream(field+".grpc.socket", p.GRPC.Socket, sockets)
		c.that(!hasControl(p.GRPC.Service), field+".grpc.service", "contains a control character")
		c.tls(field+".grpc.tls", p.GRPC.TLS)
	case p.TCP != nil:
		c.stream(field+".tcp.socket", p.TCP.Socket, sockets)
		c.tls(field+".tcp.tls", p.TCP.TLS)
	case p.Exec != nil:
		c.exec(field+".exec.command", p.Exec.Command)
	}
}

func (c *checker) http(field string, h HTTPProbe, sockets []Socket) {
	c.stream(field+".socket", h.Socket, sockets)
	c.that(h.Scheme == "http" || h.Scheme == "https", field+".scheme", "%.80q is neither http nor https", h.Scheme)
	c.that(h.TLS == nil || h.Scheme == "https", field+".tls", "needs scheme: https")
	c.that(strings.HasPrefix(h.Path, "/") && !hasControl(h.Path) && !strings.Contains(h.Path, " "),
		field+".path", "%.200q must begin with / and contain no space", h.Path)
	c.that(!hasControl(h.Host) && !strings.ContainsAny(h.Host, " /"), field+".host", "%.200q is not a host", h.Host)
	c.that(h.Status == 0 || h.Status >= 100 && h.Status <= 599, field+".status", "%d is not from 100 to 599", h.Status)
	c.tls(field+".tls", h.TLS)
}

func (c *checker) stream(field, name string, sockets []Socket) {
	i := slices.IndexFunc(sockets, func(s Socket) bool { return s.Name == name })
	switch {
	case name == "":
		c.add(field, "which socket is missing")
	case i < 0:
		c.add(field, "there is no socket %.80q", name)
	case !sockets[i].Stream():
		c.add(field, "socket %q takes datagrams: a probe would reach the application as one", name)
	}
}

func (c *checker) tls(field string, t *TLSProbe) {
	if t == nil {
		return
	}
	if t.CA != "" {
		c.failed(field+".ca", checkPath(t.CA))
		c.that(!t.SkipVerify, field+".ca", "is of no use with skip_verify")
	}
	c.that(!hasControl(t.ServerName) && !strings.Contains(t.ServerName, " "), field+".server_name", "%.200q is not a host's name", t.ServerName)
}

func (c *checker) exec(field string, command []string) {
	if len(command) == 0 {
		c.add(field, "a command is missing")
		return
	}
	c.failed(field+"[0]", checkPath(command[0]))
	for _, word := range command {
		c.that(!strings.Contains(word, "\x00"), field, "contains NUL")
	}
}
