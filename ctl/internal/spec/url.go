package spec

import (
	"fmt"
	"strings"

	"github.com/gracefleet/gracefleet/internal/link"
)

// ParseURL reads https://HOST/PATH#sha256=HEX. Its errors do not tell what may be secret
// in it.
func ParseURL(text string) (Artifact, error) {
	address, fragment, _ := strings.Cut(text, "#")
	l, err := link.Parse(address)
	if err != nil {
		return Artifact{}, fmt.Errorf("the URL %w", err)
	}
	digest, ok := strings.CutPrefix(fragment, "sha256=")
	if digest = "sha256:" + digest; !ok || !IsDigest(digest) {
		return Artifact{}, fmt.Errorf("%s: write what it has to be behind it, as #sha256= and 64 lowercase hex digits", l)
	}
	return Artifact{URL: l.URL(), Digest: digest}, nil
}
