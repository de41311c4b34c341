package spec

import (
	"time"

	"github.com/gracefleet/gracefleet/ctl/internal/strict"
)

// kinds are the readiness keys, of which exactly one may be set.
var kinds = []string{"notify", "http", "grpc", "tcp", "exec", "parent_signal", "alive_for"}

func (d *decoder) readyOf(p **Ready) func(strict.Value) {
	return func(v strict.Value) {
		r := &Ready{}
		*p = r
		r.Probe = d.probe(v, strict.Field{"timeout", d.durationOf(&r.Timeout)})
	}
}

func (d *decoder) checkOf(p **Check) func(strict.Value) {
	return func(v strict.Value) {
		c := &Check{}
		*p = c
		c.Probe = d.probe(v,
			strict.Field{"interval", d.durationOf(&c.Interval)},
			strict.Field{"failures", d.countOf(&c.Failures, 1)})
		switch {
		case c.Probe == nil:
			d.Fail(v, "want one of http, grpc, tcp, exec")
		case c.Probe.Notify || c.Probe.ParentSignal || c.Probe.AliveFor != nil:
			d.Fail(v, "notify, parent_signal and alive_for prove a start, not that it goes on working: use http, grpc, tcp or exec")
		}
	}
}

// probe reads a mapping with one kind of probe among other keys; nil when it
// has none.
func (d *decoder) probe(v strict.Value, others ...strict.Field) *Probe {
	var p Probe
	var tls *TLS
	seen := d.Object(v, append([]strict.Field{
		{"notify", d.nothing(&p.Notify)},
		{"http", d.httpOf(&p.HTTP)},
		{"grpc", d.grpcOf(&p.GRPC)},
		{"tcp", d.tcpOf(&p.TCP)},
		{"exec", d.execOf(&p.Exec)},
		{"parent_signal", d.nothing(&p.ParentSignal)},
		{"alive_for", d.aliveOf(&p.AliveFor)},
		{"tls", d.tlsOf(&tls)},
	}, others...))
	found := d.oneKind(seen)
	if at, ok := seen["tls"]; ok {
		d.attachTLS(at, &p, tls)
	}
	if p.HTTP != nil && p.HTTP.TLS != nil {
		d.https(seen["http"], p.HTTP)
	}
	if !found {
		return nil
	}
	return &p
}

// oneKind says whether a kind is set, and fails for every further one.
func (d *decoder) oneKind(seen map[string]strict.Value) bool {
	first := ""
	for _, kind := range kinds {
		at, ok := seen[kind]
		switch {
		case !ok:
		case first == "":
			first = kind
		default:
			d.Fail(at, "%s is set too: exactly one way to prove it", first)
		}
	}
	return first != ""
}

// attachTLS gives the tls key beside a probe to the probe.
func (d *decoder) attachTLS(at strict.Value, p *Probe, tls *TLS) {
	var target **TLS
	switch {
	case p.HTTP != nil:
		target = &p.HTTP.TLS
	case p.GRPC != nil:
		target = &p.GRPC.TLS
	case p.TCP != nil:
		target = &p.TCP.TLS
	default:
		d.Fail(at, "only http, grpc and tcp speak TLS")
		return
	}
	if *target != nil {
		d.Fail(at, "tls is set inside the probe too")
		return
	}
	*target = tls
}

func (d *decoder) https(at strict.Value, h *HTTPProbe) {
	if h.Scheme == "http" {
		d.Fail(at, "tls needs scheme: https")
	}
	h.Scheme = "https"
}

// nothing reads a kind without keys of its own: bare, or {}.
func (d *decoder) nothing(p *bool) func(strict.Value) {
	return func(v strict.Value) {
		*p = true
		d.Entries(v, func(key string, at, _ strict.Value) { d.Fail(at, "unknown key: nothing goes in here") })
	}
}

func (d *decoder) aliveOf(p **time.Duration) func(strict.Value) {
	return func(v strict.Value) {
		// A mistake is reported; the kind counts as set all the same.
		*p = new(time.Duration)
		d.durationOf(p)(v)
	}
}

func (d *decoder) httpOf(p **HTTPProbe) func(strict.Value) {
	return func(v strict.Value) {
		h := &HTTPProbe{}
		*p = h
		d.Object(v, []strict.Field{
			{"socket", d.TextOf(&h.Socket)},
			{"scheme", d.wordOf(&h.Scheme, "http", "https")},
			{"host", d.TextOf(&h.Host)},
			{"path", d.TextOf(&h.Path)},
			{"status", d.countOf(&h.Status, 100)},
			{"tls", d.tlsOf(&h.TLS)},
		})
	}
}

func (d *decoder) grpcOf(p **GRPCProbe) func(strict.Value) {
	return func(v strict.Value) {
		g := &GRPCProbe{}
		*p = g
		d.Object(v, []strict.Field{
			{"socket", d.TextOf(&g.Socket)},
			{"service", d.TextOf(&g.Service)},
			{"tls", d.tlsOf(&g.TLS)},
		})
	}
}

func (d *decoder) tcpOf(p **TCPProbe) func(strict.Value) {
	return func(v strict.Value) {
		t := &TCPProbe{}
		*p = t
		d.Object(v, []strict.Field{{"socket", d.TextOf(&t.Socket)}, {"tls", d.tlsOf(&t.TLS)}})
	}
}

func (d *decoder) execOf(p **ExecProbe) func(strict.Value) {
	return func(v strict.Value) {
		e := &ExecProbe{}
		*p = e
		seen := d.Object(v, []strict.Field{{"command", d.TextsOf(&e.Command)}})
		d.Required(v, seen, "command")
	}
}

func (d *decoder) tlsOf(p **TLS) func(strict.Value) {
	return func(v strict.Value) {
		t := &TLS{}
		*p = t
		verify := true
		d.Object(v, []strict.Field{
			{"server_name", d.TextOf(&t.ServerName)},
			{"ca", d.TextOf(&t.CA)},
			{"verify", d.flagOf(&verify)},
		})
		t.SkipVerify = !verify
	}
}
