//go:build linux

package e2e

import (
	"fmt"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// BenchmarkUpgrade tells how long an upgrade takes until a user notices it: from
// the call to the first answer of the new generation, and the longest time
// without an answer, under a load that leaves the machine quiet.
//
//	go test -run '^$' -bench Upgrade -benchtime 10x ./e2e
func BenchmarkUpgrade(b *testing.B) {
	for _, c := range []struct{ name, folder, rest string }{
		{"library", "runtime", signalDrain},
		{"unmodified", "plain", patientDrain},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkUpgrade(b, c.folder, c.rest) })
	}
}

func benchmarkUpgrade(b *testing.B, folder, rest string) {
	s := start(b, folder, rest)
	upgrade := s.alternate()
	m := &meter{}
	const perSecond = 1000
	l := s.load(perSecond, 0, m.hear)
	answered(b, l, perSecond/10)
	var sw switches
	b.ResetTimer()
	for i := range b.N {
		m.reset()
		before := time.Now()
		upgrade(i)
		up := s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
		answered(b, l, perSecond) // the machine comes to rest
		first := m.firstAnswer(fmt.Sprint(up.GetToGeneration()))
		if first.Before(before) {
			b.Fatal("the new generation never answered")
		}
		sw.first = append(sw.first, first.Sub(before))
		sw.gaps = append(sw.gaps, m.longestGap())
	}
	b.StopTimer()
	unharmed(b, l)
	b.ReportMetric(milliseconds(median(sw.first)), "ms-to-first-answer")
	b.ReportMetric(milliseconds(median(sw.gaps)), "ms-longest-gap")
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
