package audit

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkAppend is what a request waits for before it is acted on. It reports
// medians, which a slow disk's outliers leave alone.
func BenchmarkAppend(b *testing.B) {
	for name, writers := range map[string]int{"alone": 1, "8 at once": 8} {
		b.Run(name, func(b *testing.B) {
			l, _ := openAt(b, filepath.Join(b.TempDir(), "audit"), Options{})
			each := make([][]time.Duration, writers)
			begin := time.Now()
			var group sync.WaitGroup
			for w := range writers {
				group.Go(func() {
					for range b.N/writers + 1 {
						at := time.Now()
						if _, err := l.Append(stop("alice")); err != nil {
							b.Error(err)
							return
						}
						each[w] = append(each[w], time.Since(at))
					}
				})
			}
			group.Wait()
			all := slices.Concat(each...)
			b.ReportMetric(float64(len(all))/time.Since(begin).Seconds(), "lines/s")
			report(b, all)
		})
	}
}

// BenchmarkFdatasync is what the disk asks for at least.
func BenchmarkFdatasync(b *testing.B) {
	d, err := openDisk(filepath.Join(b.TempDir(), "audit"))
	if err != nil {
		b.Fatal(err)
	}
	defer d.close()
	f, err := d.create("file")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	line := make([]byte, 300)
	var took []time.Duration
	for b.Loop() {
		at := time.Now()
		if _, err := f.WriteAt(line, int64(len(took)*len(line))); err != nil {
			b.Fatal(err)
		}
		if err := f.sync(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(at))
	}
	report(b, took)
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}

// BenchmarkOpen is the start of an agent with a record of a full file.
func BenchmarkOpen(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "audit")
	fake := newFakeDisk()
	l, err := open(fake, Options{MaxBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	const size = 16 << 20
	for l.segments == nil || l.end() < size {
		var batch []*pending
		for range 20000 {
			batch = append(batch, &pending{entry: stop("alice"), wake: make(chan struct{}, 1)})
		}
		l.queue = batch
		if err := l.commit(); err != nil {
			b.Fatal(err)
		}
	}
	data := fake.now[segmentName(1)].now
	if err := os.Mkdir(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, segmentName(1)), data, 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		l, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		_ = l.Close()
	}
}
