//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/e2e/harness"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

// BenchmarkLocalSocket tells how long gracectl on the host waits for an answer
// while somebody floods the agent.
//
//	go test -run '^$' -bench LocalSocket -benchtime 500x ./e2e
func BenchmarkLocalSocket(b *testing.B) {
	for _, c := range []struct {
		name, kind string
		local      bool
		count      int
	}{
		{name: "rest"},
		{name: "1 connection resets streams", kind: "reset", count: 1},
		{name: "32 connections reset streams", kind: "reset", count: 32},
		{name: "32 local connections reset streams", kind: "reset", count: 32, local: true},
		{name: "1000 half-open handshakes", kind: "handshake", count: 1000},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkLocalSocket(b, c.kind, c.local, c.count) })
	}
}

func benchmarkLocalSocket(b *testing.B, kind string, local bool, count int) {
	ca := certstest.NewCA(b)
	address := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(b))
	s := start(b, "runtime", signalDrain, append(listening(address, ca.Agent("web-1")), "--log-level", "error")...)
	if local {
		address = s.Socket
	}
	if kind != "" {
		f := startFlood(b, kind, address, ca.ClientFiles("read", "eve"), count)
		before := s.CPU()
		begin := time.Now()
		defer func() {
			used := s.CPU() - before
			b.Logf("the attack: %s; the agent used %.2f processors, %d MiB", f.end(), used.Seconds()/time.Since(begin).Seconds(), s.Memory()>>20)
		}()
	}
	var took []time.Duration
	for b.Loop() {
		d, err := askLocally(b.Context(), s.Agent)
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, d)
		time.Sleep(2 * time.Millisecond) // somebody who asks, not another flood
	}
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(milliseconds(took[len(took)/2]), "ms-p50")
	b.ReportMetric(milliseconds(took[len(took)*99/100]), "ms-p99")
	b.ReportMetric(milliseconds(took[len(took)-1]), "ms-max")
}
