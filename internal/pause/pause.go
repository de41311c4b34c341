// Package pause waits, and can be told not to.
package pause

import (
	"context"
	"time"
)

// For returns after a time, or before with why ctx has ended.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
