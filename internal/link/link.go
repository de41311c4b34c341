// Package link reads the https URLs of artifacts. It is pure, and strict: what two
// programs could read in two ways is refused, so that a URL that was compared with
// what a host allows is the one that its server understands.
package link

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// MaxBytes bounds a URL: those that are presigned have a token of up to 4 KiB.
const MaxBytes = 8 << 10

// Link is a URL below which, or at which, artifacts are. Its zero value is none.
type Link struct {
	host  string // with the port, unless it is 443
	path  string // decoded
	raw   string // as it was written
	query string // with its question mark; often a secret
}

var (
	hostForm = regexp.MustCompile(`\A[a-z0-9]([a-z0-9._-]*[a-z0-9])?\z`)
	// What servers decode once more, or read as the end or the parameters of a
	// segment.
	ambiguous = regexp.MustCompile(`(?i)%(2e|2f|5c|25|3b|[01][0-9a-f]|7f)|[\\;]`)
)

// Parse reads a URL. Its errors never have the URL's query, which may be a secret.
func Parse(text string) (Link, error) {
	switch {
	case len(text) > MaxBytes:
		return Link{}, fmt.Errorf("more than %d bytes", MaxBytes)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return Link{}, errors.New("has something else than printable ASCII: write it in percents")
	case !strings.HasPrefix(text, "https://"):
		return Link{}, errors.New("is no https:// URL")
	case strings.Contains(text, "#"):
		return Link{}, errors.New("has a fragment, #")
	}
	rest, query, asked := strings.Cut(text[len("https://"):], "?")
	if asked {
		query = "?" + query
	}
	authority, raw, found := strings.Cut(rest, "/")
	if !found {
		return Link{}, errors.New("has no path")
	}
	raw = "/" + raw
	host, err := parseHost(authority)
	if err != nil {
		return Link{}, err
	}
	decoded, err := parsePath(raw)
	return Link{host, decoded, raw, query}, err
}

// parseHost reads HOST or HOST:PORT, in one spelling of each.
func parseHost(authority string) (string, error) {
	if strings.Contains(authority, "@") {
		return "", errors.New("has a user or a password in it")
	}
	host, port := strings.ToLower(authority), "443"
	if at := strings.LastIndexByte(host, ':'); at > strings.LastIndexByte(host, ']') {
		host, port = host[:at], host[at+1:]
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return "", fmt.Errorf("%.80q is no port", port)
	}
	if !isHost(host) {
		return "", fmt.Errorf("%.80q is no host", host)
	}
	if port == "443" {
		return host, nil
	}
	return host + ":" + port, nil
}

func isHost(host string) bool {
	inner, open := strings.CutPrefix(host, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	if open != closed {
		return false
	}
	if !open {
		return len(host) <= 253 && hostForm.MatchString(host)
	}
	a, err := netip.ParseAddr(inner)
	return err == nil && a.Is6() && a.Zone() == "" && a.String() == inner
}

// parsePath decodes a path of which there is no other spelling.
func parsePath(raw string) (string, error) {
	if ambiguous.MatchString(raw) {
		return "", errors.New(`has in its path a \ or ;, or one of these, a dot, slash, percent or control character in percents`)
	}
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		return "", errors.New("has a percent in its path that is followed by no two hex digits")
	}
	clean := path.Clean(decoded)
	if strings.HasSuffix(decoded, "/") && clean != "/" {
		clean += "/"
	}
	if clean != decoded {
		return "", errors.New("has // or a segment . or .. in its path")
	}
	return decoded, nil
}

// Below says whether the link is below a prefix, which ends in a slash: at the same
// host and port, and deeper.
func (l Link) Below(prefix Link) bool {
	return prefix.IsPrefix() && l.host == prefix.host && len(l.path) > len(prefix.path) && strings.HasPrefix(l.path, prefix.path)
}

// IsPrefix says whether something can be below the link.
func (l Link) IsPrefix() bool { return strings.HasSuffix(l.path, "/") && l.query == "" }

// Parent is the prefix of what lies beside the link.
func (l Link) Parent() string {
	return "https://" + l.host + l.raw[:strings.LastIndexByte(l.raw, '/')+1]
}

// Name is that of the file at the link; empty for a prefix.
func (l Link) Name() string { return l.path[strings.LastIndexByte(l.path, '/')+1:] }

// URL is the whole of it, with what may be a secret.
func (l Link) URL() string { return "https://" + l.host + l.raw + l.query }

// String is the URL without its query, for people and logs.
func (l Link) String() string { return "https://" + l.host + l.raw }

// Resolve is where a redirect leads to that the link's server has answered with.
func (l Link) Resolve(location string) (Link, error) {
	from, err := url.Parse(l.URL())
	if err != nil {
		return Link{}, errors.New("is no URL")
	}
	to, err := from.Parse(location)
	if err != nil {
		return Link{}, errors.New("is no URL") // the error would tell the query
	}
	to.Fragment, to.RawFragment = "", ""
	return Parse(to.String())
}
