package spec

import (
	"strings"
	"testing"
	"time"
)

// TestHostileShapes holds the parser to a time that an operator would accept:
// nesting and repetition are where parsers take quadratic time.
func TestHostileShapes(t *testing.T) {
	for name, text := range map[string]string{
		"flow nesting":  "a: " + strings.Repeat("[", 10_000),
		"block nesting": strings.Repeat("- ", 10_000),
		"anchors":       "a: " + strings.Repeat("&a ", 10_000),
		"quotes":        "a: " + strings.Repeat(`"`, 10_001),
		"many keys":     strings.Repeat("a: 1\n", 20_000),
		"one line":      "a: " + strings.Repeat("x ", 100_000),
	} {
		begin := time.Now()
		if _, err := Parse("web.yaml", []byte(text)); err == nil {
			t.Errorf("%s is taken", name)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
}
