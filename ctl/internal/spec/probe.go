package spec

import "time"

// kinds are the readiness keys, of which exactly one may be set.
var kinds = []string{"notify", "http", "grpc", "tcp", "exec", "parent_signal", "alive_for"}

func (d *decoder) readyOf(p **Ready) func(value) {
	return func(v value) {
		r := &Ready{}
		*p = r
		r.Probe = d.probe(v, field{"timeout", d.durationOf(&r.Timeout)})
	}
}

func (d *decoder) checkOf(p **Check) func(value) {
	return func(v value) {
		c := &Check{}
		*p = c
		c.Probe = d.probe(v,
			field{"interval", d.durationOf(&c.Interval)},
			field{"failures", d.countOf(&c.Failures, 1)})
		switch {
		case c.Probe == nil:
			d.fail(v, "want one of http, grpc, tcp, exec")
		case c.Probe.Notify || c.Probe.ParentSignal || c.Probe.AliveFor != nil:
			d.fail(v, "notify, parent_signal and alive_for prove a start, not that it goes on working: use http, grpc, tcp or exec")
		}
	}
}

// probe reads a mapping with one kind of probe among other keys; nil when it
// has none.
func (d *decoder) probe(v value, others ...field) *Probe {
	var p Probe
	var tls *TLS
	seen := d.object(v, append([]field{
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
func (d *decoder) oneKind(seen map[string]value) bool {
	first := ""
	for _, kind := range kinds {
		at, ok := seen[kind]
		switch {
		case !ok:
		case first == "":
			first = kind
		default:
			d.fail(at, "%s is set too: exactly one way to prove it", first)
		}
	}
	return first != ""
}

// attachTLS gives the tls key beside a probe to the probe.
func (d *decoder) attachTLS(at value, p *Probe, tls *TLS) {
	var target **TLS
	switch {
	case p.HTTP != nil:
		target = &p.HTTP.TLS
	case p.GRPC != nil:
		target = &p.GRPC.TLS
	case p.TCP != nil:
		target = &p.TCP.TLS
	default:
		d.fail(at, "only http, grpc and tcp speak TLS")
		return
	}
	if *target != nil {
		d.fail(at, "tls is set inside the probe too")
		return
	}
	*target = tls
}

func (d *decoder) https(at value, h *HTTPProbe) {
	if h.Scheme == "http" {
		d.fail(at, "tls needs scheme: https")
	}
	h.Scheme = "https"
}

// nothing reads a kind without keys of its own: bare, or {}.
func (d *decoder) nothing(p *bool) func(value) {
	return func(v value) {
		*p = true
		d.entries(v, func(key string, at, _ value) { d.fail(at, "unknown key: nothing goes in here") })
	}
}

func (d *decoder) aliveOf(p **time.Duration) func(value) {
	return func(v value) {
		// A mistake is reported; the kind counts as set all the same.
		*p = new(time.Duration)
		d.durationOf(p)(v)
	}
}

func (d *decoder) httpOf(p **HTTPProbe) func(value) {
	return func(v value) {
		h := &HTTPProbe{}
		*p = h
		d.object(v, []field{
			{"socket", d.textOf(&h.Socket)},
			{"scheme", d.wordOf(&h.Scheme, "http", "https")},
			{"host", d.textOf(&h.Host)},
			{"path", d.textOf(&h.Path)},
			{"status", d.countOf(&h.Status, 100)},
			{"tls", d.tlsOf(&h.TLS)},
		})
	}
}

func (d *decoder) grpcOf(p **GRPCProbe) func(value) {
	return func(v value) {
		g := &GRPCProbe{}
		*p = g
		d.object(v, []field{
			{"socket", d.textOf(&g.Socket)},
			{"service", d.textOf(&g.Service)},
			{"tls", d.tlsOf(&g.TLS)},
		})
	}
}

func (d *decoder) tcpOf(p **TCPProbe) func(value) {
	return func(v value) {
		t := &TCPProbe{}
		*p = t
		d.object(v, []field{{"socket", d.textOf(&t.Socket)}, {"tls", d.tlsOf(&t.TLS)}})
	}
}

func (d *decoder) execOf(p **ExecProbe) func(value) {
	return func(v value) {
		e := &ExecProbe{}
		*p = e
		seen := d.object(v, []field{{"command", d.textsOf(&e.Command)}})
		d.required(v, seen, "command")
	}
}

func (d *decoder) tlsOf(p **TLS) func(value) {
	return func(v value) {
		t := &TLS{}
		*p = t
		verify := true
		d.object(v, []field{
			{"server_name", d.textOf(&t.ServerName)},
			{"ca", d.textOf(&t.CA)},
			{"verify", d.flagOf(&verify)},
		})
		t.SkipVerify = !verify
	}
}
