package spec

import (
	"strings"
	"testing"
)

// hostileShapes are where parsers take quadratic time: nesting and repetition.
var hostileShapes = map[string]string{
	"flow nesting":  "a: " + strings.Repeat("[", 10_000),
	"block nesting": strings.Repeat("- ", 10_000),
	"anchors":       "a: " + strings.Repeat("&a ", 10_000),
	"quotes":        "a: " + strings.Repeat(`"`, 10_001),
	"many keys":     strings.Repeat("a: 1\n", 20_000),
	"one line":      "a: " + strings.Repeat("x ", 100_000),
}

func TestHostileShapes(t *testing.T) {
	for name, text := range hostileShapes {
		if _, err := Parse("web.yaml", []byte(text)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// An operator accepts a second for any of them.
func BenchmarkHostileShapes(b *testing.B) {
	for name, text := range hostileShapes {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, _ = Parse("web.yaml", []byte(text))
			}
		})
	}
}
