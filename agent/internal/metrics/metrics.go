package metrics

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Figures are an agent's at one time.
type Figures struct {
	Version string
	// NotAfter is when each kind of certificate or list ends: agent, ca, crl.
	NotAfter map[string]time.Time
	// RenewContact is when the CA answered last; zero before it did.
	RenewContact time.Time
	// RegistryContact is when etcd had the host registered last; zero before it did.
	RegistryContact time.Time
	// Degraded is how many things keep the agent from its full service.
	Degraded int
	// Connections are those that stand, by where they come from: local, network.
	Connections map[string]int
	// Refused is how many handshakes ended before there was a caller.
	Refused uint64
}

var (
	build       = describe("build_info", "Versions of the agent and of Go; always 1.", "version", "goversion")
	notAfter    = describe("certificate_not_after_seconds", "When the agent's certificate, the CA's and the revocation list end, in seconds since 1970.", "kind")
	contact     = describe("renew_contact_seconds", "When the CA that renews the certificate answered last, in seconds since 1970.")
	registered  = describe("registry_contact_seconds", "When etcd had the host registered last, in seconds since 1970.")
	degraded    = describe("degraded", "How many things keep the agent from its full service; gracectl info names them.")
	connections = describe("connections", "Connections to the API that stand.", "from")
	refused     = describe("refused_handshakes_total", "TLS handshakes that ended before there was a caller.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("gracefleet_"+name, help, labels, nil)
}

// collector reads the figures at each scrape.
type collector func() Figures

// Describe says what there can be.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{build, notAfter, contact, registered, degraded, connections, refused} {
		out <- d
	}
}

// Collect says what there is. What is not known is absent, not 0.
func (c collector) Collect(out chan<- prometheus.Metric) {
	f := c()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(build, 1, f.Version, runtime.Version())
	for kind, at := range f.NotAfter {
		if !at.IsZero() {
			gauge(notAfter, seconds(at), kind)
		}
	}
	if !f.RenewContact.IsZero() {
		gauge(contact, seconds(f.RenewContact))
	}
	if !f.RegistryContact.IsZero() {
		gauge(registered, seconds(f.RegistryContact))
	}
	gauge(degraded, float64(f.Degraded))
	for from, n := range f.Connections {
		gauge(connections, float64(n), from)
	}
	out <- prometheus.MustNewConstMetric(refused, prometheus.CounterValue, float64(f.Refused))
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func registry(figures func() Figures) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collector(figures), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
