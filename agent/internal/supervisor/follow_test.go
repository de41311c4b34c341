package supervisor

import (
	"testing"
	"time"
)

// A look is shared by those who may have one as old, while nothing else has changed;
// and by all who asked before it began.
func TestLooksAreShared(t *testing.T) {
	now, other := &Status{}, &Status{Name: "other"}
	asked := time.Now()
	for name, c := range map[string]struct {
		began time.Duration // after the question
		of    *Status
		age   time.Duration
		want  bool
	}{
		"none yet":                   {-time.Hour, nil, shareFor, false},
		"recent enough":              {-shareFor / 2, now, shareFor, true},
		"recent, of what was before": {-shareFor / 2, other, shareFor, false},
		"too old":                    {-2 * shareFor, now, shareFor, false},
		"not fresh":                  {-time.Millisecond, now, 0, false},
		"begun since":                {time.Millisecond, now, 0, true},
		"begun since, changed since": {time.Millisecond, other, 0, true},
	} {
		l := look{of: c.of, began: asked.Add(c.began)}
		if got := l.holds(asked, c.age, now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
