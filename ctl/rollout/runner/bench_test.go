package runner

import (
	"context"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/ctl/rollout"
)

// BenchmarkAThousandHosts in ten waves, agents and all in one process: it says what the
// processor did for a host, of which the client's part is less than half.
func BenchmarkAThousandHosts(b *testing.B) {
	for b.Loop() {
		f := newFleet(1000)
		var shape rollout.Shape
		for i := range 10 {
			shape.Waves.Reach = append(shape.Waves.Reach, rollout.Amount{N: 1000 * (i + 1), Share: true})
		}
		spec := f.spec(b, "1", nil, shape)
		changes := 0
		before := processor()
		s, err := f.drive(b, context.Background(), spec, "a", func(o *Options) { o.Observe = func(Change) { changes++ } })
		if err != nil || s.Verdict() != rollout.Done {
			b.Fatalf("%d, %v", s.Verdict(), err)
		}
		b.ReportMetric((processor() - before).Seconds(), "cpu-s")
		b.ReportMetric(float64(changes), "changes")
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.Sys)/(1<<20), "MiB")
		f.close()
	}
}

func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
