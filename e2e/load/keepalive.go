package load

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errNotSent is a request whose connection was busy until its time was over.
var errNotSent = errors.New("not sent in time: the connection still waited for an earlier answer")

// keepAlive deals the requests out to its connections in turn.
func (l *Load) keepAlive(ctx context.Context) {
	n := l.cfg.Connections
	// What waits longer than the timeout is lost anyway.
	room := int(l.cfg.KeepAlive/float64(n)*l.cfg.Timeout.Seconds()) + 2
	lanes := make([]chan time.Time, n)
	var clients sync.WaitGroup
	defer clients.Wait()
	for i := range lanes {
		lanes[i] = make(chan time.Time, room)
		clients.Go(func() { l.keepAliveClient(lanes[i]) })
	}
	defer func() {
		for _, lane := range lanes {
			close(lane)
		}
	}()
	l.pace(ctx, l.cfg.KeepAlive, func(i int, due time.Time) {
		l.record.sent(false)
		select {
		case lanes[i%n] <- due:
		default:
			l.record.lost(false, Timeout, errNotSent)
		}
	})
}

// keepAliveClient makes the requests of one lane, on one connection as long as
// the server keeps it.
func (l *Load) keepAliveClient(dues <-chan time.Time) {
	request := l.request(false)
	var c *client
	for due := range dues {
		c = l.keepAliveRequest(c, request, due)
	}
	if c != nil {
		c.Close()
	}
}

// keepAliveRequest returns the connection for the next request, nil when it has
// ended.
func (l *Load) keepAliveRequest(c *client, request []byte, due time.Time) *client {
	deadline := due.Add(l.cfg.Timeout)
	if !time.Now().Before(deadline) {
		l.record.lost(false, Timeout, errNotSent)
		return c
	}
	if c != nil && c.closedByServer() {
		// Seen before anything was written: no request was lost by it.
		l.record.idleClosed()
		c.Close()
		c = nil
	}
	if c == nil {
		var err error
		if c, err = l.dial(deadline); err != nil {
			l.record.lost(false, classify(err, false), err)
			return nil
		}
		l.record.connected()
	}
	generation, closing, err := c.exchange(request, deadline)
	switch {
	case err != nil:
		l.record.lost(false, classify(err, c.received > 0), err)
		if !errors.Is(err, errStatus) {
			closing = true
		}
	default:
		l.record.answered(Answer{Generation: generation, Due: due, At: time.Now()}, c.connected)
		if closing {
			l.record.announced()
		}
	}
	if closing {
		c.Close()
		return nil
	}
	return c
}
