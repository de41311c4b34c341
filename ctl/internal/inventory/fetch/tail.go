package fetch

import (
	"bytes"
	"fmt"
)

// tailBytes is how much of what a program says on standard error is shown.
const tailBytes = 1000

// tail keeps the last bytes that were written.
type tail struct {
	last []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.last = append(t.last, p[max(0, len(p)-tailBytes):]...)
	t.last = bytes.Clone(t.last[max(0, len(t.last)-tailBytes):])
	return len(p), nil
}

// words tell what was written last, safe for a terminal; "" when nothing was.
func (t *tail) words() string {
	text := bytes.TrimSpace(t.last)
	if len(text) == 0 {
		return ""
	}
	return fmt.Sprintf("; it said: %q", text)
}
