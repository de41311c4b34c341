//go:build linux

package harness

import (
	"bytes"
	"regexp"
	"sync"
)

// forbidden is what an agent never says, whatever is done to it.
var forbidden = regexp.MustCompile(`(?m)^panic: |^fatal error: |DATA RACE|goroutine leak`)

// log collects what an agent writes. It is safe for concurrent use.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
