package server

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"
)

// quietLog says what anybody could make the agent say without end: some lines a
// second, and how many were left out. It is safe for concurrent use.
type quietLog struct {
	log    hclog.Logger
	bucket *rate.Limiter

	mu   sync.Mutex
	left int // out since the last line
}

func newQuietLog(log hclog.Logger) *quietLog {
	return &quietLog{log: log, bucket: rate.NewLimiter(refusalLinesPerSecond, refusalLinesAtOnce)}
}

func (q *quietLog) warn(message string, args ...any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.bucket.AllowN(time.Now(), 1) {
		q.left++
		return
	}
	if q.left > 0 {
		args = append(args, "left_out_before", q.left)
		q.left = 0
	}
	q.log.Warn(message, args...)
}
