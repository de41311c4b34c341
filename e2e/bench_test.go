//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"testing"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
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
	var alone []time.Duration
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
		alone = append(alone, startAlone(b, folder))
		sw.first = append(sw.first, first.Sub(before))
		sw.gaps = append(sw.gaps, m.longestGap())
	}
	b.StopTimer()
	unharmed(b, l)
	b.ReportMetric(milliseconds(median(sw.first)), "ms-to-first-answer")
	b.ReportMetric(milliseconds(median(sw.gaps)), "ms-longest-gap")
	b.ReportMetric(milliseconds(median(alone)), "ms-program-alone")
}

// startAlone is how long the program itself takes from its start to its first
// answer, under the same load and without an agent: what no upgrade can be
// faster than on this machine at this time.
func startAlone(b *testing.B, folder string) time.Duration {
	b.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(b))
	program := exec.Command(harness.Program(b, folder, "v1"), "-listen", address)
	begin := time.Now()
	if err := program.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = program.Process.Kill()
		_ = program.Wait()
	}()
	for {
		resp, err := http.Get("http://" + address + "/")
		if err == nil {
			took := time.Since(begin)
			resp.Body.Close()
			return took
		}
		if time.Since(begin) > awaitLimit {
			b.Fatal(err)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
