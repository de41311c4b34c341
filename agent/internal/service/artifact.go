package service

import (
	"fmt"
	"path"
	"strings"
)

// Prefixes of the two forms of an artifact.
const (
	StoredArtifact = "sha256:"
	HostArtifact   = "host:"
)

// VersionLabel is the label under which a stored artifact keeps the version it
// was pushed with.
const VersionLabel = "gracefleet.version"

var digestForm = lazily(`\Asha256:[0-9a-f]{64}\z`)

// CheckDigest says whether s names a stored artifact.
func CheckDigest(s string) error {
	if !digestForm().MatchString(s) {
		return fmt.Errorf("%.80q is not a digest: want sha256: and 64 digits of 0-9, a-f", s)
	}
	return nil
}

// CheckArtifact says whether s has one of the two forms of an artifact.
func CheckArtifact(s string) error {
	p, onHost := strings.CutPrefix(s, HostArtifact)
	switch {
	case s == "":
		return fmt.Errorf("an artifact is required: sha256:HEX, or host:/PATH for a program of the host")
	case strings.HasPrefix(s, StoredArtifact):
		return CheckDigest(s)
	case !onHost:
		return fmt.Errorf("%.80q is not an artifact: want sha256:HEX, or host:/PATH for a program of the host", s)
	default:
		return checkPath(p)
	}
}

// checkPath wants an absolute path in its shortest form, fit for one line.
func checkPath(p string) error {
	switch {
	case !path.IsAbs(p) || path.Clean(p) != p || p == "/":
		return fmt.Errorf("path %.200q must be absolute and clean, as /usr/sbin/nginx", p)
	case len(p) > 4095: // PATH_MAX, limits.h, counts the final NUL
		return fmt.Errorf("path of %d bytes: the kernel takes at most 4095", len(p))
	case hasControl(p):
		return fmt.Errorf("path %.200q contains a control character", p)
	}
	return nil
}

// hasControl says whether s holds NUL, a line's end or another control character.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
