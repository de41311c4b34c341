package label

import (
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	for key, want := range map[string]bool{
		"role": true, "topology.example.org/zone": true, "a": true, "A-1_b": true, Name: true, strings.Repeat("a", 63): true,
		"": false, "a b": false, "-a": false, "a/": false, "a=b": false, "rôle": false, "a\n": false, strings.Repeat("a", 64): false,
	} {
		if got := ValidKey(key); got != want {
			t.Errorf("%q: %v", key, got)
		}
	}
	if !Reserved("name") || !Reserved("group") || Reserved("role") {
		t.Error("every host has a name and groups, and nothing else")
	}
}

func TestValues(t *testing.T) {
	for value, want := range map[string]bool{
		"": true, "web": true, "10.0.0.1:80": true, "a@b/c+d": true, strings.Repeat("a", 128): true,
		"a b": false, "a,b": false, "a*": false, "a\n": false, strings.Repeat("a", 129): false,
	} {
		if got := ValidValue(value); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}
