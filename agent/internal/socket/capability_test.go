package socket

import (
	"context"
	"testing"
)

func TestCapabilities(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Capabilities(t.Context()) {
		t.Logf("%-24s %v %s", c.Name, c.Available, c.Detail)
		if seen[c.Name] = true; c.Fallback == "" || c.Available != (c.Detail == "") {
			t.Errorf("%+v", c)
		}
		if c.Name == "sock-diag" && !c.Available {
			t.Error("the other tests cannot pass without sock_diag")
		}
	}
	if len(seen) != len(capabilities) {
		t.Errorf("%d rows with different names, want %d", len(seen), len(capabilities))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range Capabilities(ctx) {
		if c.Available {
			t.Errorf("%s was tried after the end", c.Name)
		}
	}
}
