package inventory

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// DefaultPort is where agents listen, unless an address says otherwise.
const DefaultPort = "7443"

// maxUnixPath is the longest path in a unix socket's address on Linux: the 108
// bytes of sun_path less the final NUL (unix(7)).
const maxUnixPath = 107

// dnsForm is RFC 1123, section 2.1, and underscores, which name servers know.
var dnsForm = regexp.MustCompile(`\A[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\z`)

// ParseAddress reads HOST, HOST:PORT or unix:PATH, and returns the one spelling that
// all of an address have in common: HOST:PORT, or unix:PATH.
func ParseAddress(text string) (string, error) {
	if place, ok := strings.CutPrefix(text, "unix:"); ok {
		return unixAddress(place)
	}
	if strings.Contains(text, "/") {
		return "", notAddress(text)
	}
	host, port, err := split(text)
	if err != nil {
		return "", err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return "", fmt.Errorf("%q: an address with a zone is this machine's alone", text)
		}
		return netip.AddrPortFrom(ip, uint16(n)).String(), nil
	}
	if len(host) > 253 || !dnsForm.MatchString(host) {
		return "", notAddress(text)
	}
	return strings.ToLower(host) + ":" + strconv.FormatUint(n, 10), nil
}

func notAddress(text string) error {
	return fmt.Errorf("%q is not an address: want HOST, HOST:PORT or unix:PATH, such as web-1.example.org:%s", text, DefaultPort)
}

// split takes host and port apart; brackets are needed where an IPv6 address has a port.
func split(text string) (host, port string, err error) {
	if rest, ok := strings.CutPrefix(text, "["); ok {
		inner, after, closed := strings.Cut(rest, "]")
		ip, err := netip.ParseAddr(inner)
		port, hasPort := strings.CutPrefix(after, ":")
		switch {
		case !closed || err != nil || !ip.Is6() || after != "" && !hasPort:
			return "", "", fmt.Errorf("%q is not an address: want [IPV6]:PORT", text)
		case !hasPort:
			return inner, DefaultPort, nil
		}
		return inner, port, nil
	}
	if strings.Count(text, ":") != 1 {
		return text, DefaultPort, nil // a name, an IPv4 address, or a bare IPv6 one
	}
	host, port, _ = strings.Cut(text, ":")
	return host, port, nil
}

func unixAddress(place string) (string, error) {
	if rest, ok := strings.CutPrefix(place, "//"); ok {
		place = rest
	}
	switch {
	case !path.IsAbs(place) || path.Clean(place) != place || place == "/" || strings.ContainsAny(place, "\x00?#%"):
		return "", fmt.Errorf("%q is not the path of a socket: want an absolute and clean one, as unix:/run/gracefleet/graced.sock", place)
	case len(place) > maxUnixPath:
		return "", fmt.Errorf("path of %d bytes: a socket's has at most %d", len(place), maxUnixPath)
	}
	return "unix:" + place, nil
}
