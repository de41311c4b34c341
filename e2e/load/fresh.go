package load

import (
	"context"
	"sync"
	"time"
)

// fresh opens a connection for each request.
func (l *Load) fresh(ctx context.Context) {
	var flying sync.WaitGroup
	defer flying.Wait()
	request := l.request(true)
	l.pace(ctx, l.cfg.Fresh, func(_ int, due time.Time) {
		l.record.sent(true)
		flying.Go(func() { l.freshRequest(request, due) })
	})
}

func (l *Load) freshRequest(request []byte, due time.Time) {
	deadline := due.Add(l.cfg.Timeout)
	c, err := l.dial(deadline)
	if err != nil {
		l.record.lost(true, classify(err, false), err)
		return
	}
	defer c.Close()
	generation, _, err := c.exchange(request, deadline)
	if err != nil {
		l.record.lost(true, classify(err, c.received > 0), err)
		return
	}
	l.record.answered(Answer{Generation: generation, Fresh: true, Due: due, At: time.Now()}, c.connected)
}
