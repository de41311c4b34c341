package server

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"
)

// bound is how much of what anybody could cause without end is told, and how much was
// left out. It is safe for concurrent use.
type bound struct {
	bucket *rate.Limiter

	mu   sync.Mutex
	left int // out since the last that was told
}

func newBound(perSecond rate.Limit, atOnce int) *bound {
	return &bound{bucket: rate.NewLimiter(perSecond, atOnce)}
}

// next says whether to tell one more, which costs so much, and how many were left out
// before it.
func (b *bound) next(cost int) (leftOut int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.bucket.AllowN(time.Now(), cost) {
		b.left++
		return 0, false
	}
	leftOut, b.left = b.left, 0
	return leftOut, true
}

// quietLog says such things in some lines a second. It is safe for concurrent use.
type quietLog struct {
	log   hclog.Logger
	lines *bound
}

func newQuietLog(log hclog.Logger) *quietLog {
	return &quietLog{log: log, lines: newBound(refusalLinesPerSecond, refusalLinesAtOnce)}
}

func (q *quietLog) warn(message string, args ...any) {
	leftOut, ok := q.lines.next(1)
	if !ok {
		return
	}
	if leftOut > 0 {
		args = append(args, "left_out_before", leftOut)
	}
	q.log.Warn(message, args...)
}
