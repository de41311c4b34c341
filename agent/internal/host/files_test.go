package host

import (
	"maps"
	"strings"
	"testing"
)

func TestParseEnv(t *testing.T) {
	got, err := parseEnv([]byte("# comment\n; another\n\nA=1\n  B = two words \nC=\"quoted \"\nD='$x'\nE=\nF=a=b\nA=again"))
	want := map[string]string{"A": "again", "B": "two words", "C": "quoted ", "D": "$x", "E": "", "F": "a=b"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	for text, line := range map[string]string{"A=1\nsecret": "2:", "=x": "1:", "1A=x": "1:", "A B=x": "1:", "A=\x00": "1:"} {
		_, err := parseEnv([]byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), line) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want an error on line %s without the line's text", text, err, line)
		}
	}
}

func FuzzParseEnv(f *testing.F) {
	f.Add([]byte("A=1\n#\nB='x'"))
	f.Fuzz(func(t *testing.T, data []byte) {
		env, err := parseEnv(data)
		if err != nil {
			return
		}
		for k, v := range env {
			if !isVariable(k) || strings.ContainsRune(v, 0) {
				t.Errorf("%q=%q", k, v)
			}
		}
	})
}
