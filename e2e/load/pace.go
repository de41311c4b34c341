package load

import (
	"context"
	"time"
)

// pace calls send at each appointed time, rate times a second, until ctx ends.
// Times are absolute: a late call does not delay those after it.
func (l *Load) pace(ctx context.Context, rate float64, send func(n int, due time.Time)) {
	start := time.Now()
	step := float64(time.Second) / rate
	for n := 0; ; n++ {
		due := start.Add(time.Duration(float64(n) * step))
		for wait := time.Until(due); wait > 0; wait = time.Until(due) {
			// In pieces, so that a slow pace still ends soon.
			sleep(min(wait, 50*time.Millisecond))
			if ctx.Err() != nil {
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		l.record.dispatched(time.Since(due))
		send(n, due)
	}
}
