package identity

import "testing"

// Whatever is taken has one spelling.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"spiffe://example.org/gracefleet/operator/alice", "spiffe://example.org/gracefleet/operator/", "spiffe://a/gracefleet/b/c/d",
		"spiffe://a@b/gracefleet/c/d", "spiffe://a:1/gracefleet/c/d", "spiffe://a/gracefleet/c/d?x", "spiffe://a/gracefleet/%61/d", "spiffe://a/gracefleet/../d",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := Parse(s)
		if err == nil && id.String() != s {
			t.Errorf("%q is read as %v", s, id)
		}
	})
}
