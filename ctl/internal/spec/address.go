package spec

import (
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// maxUnixPath is the longest path in a unix socket's address on Linux: the 108
// bytes of sun_path less the final NUL (unix(7)).
const maxUnixPath = 107

// checkListen says what is wrong with a listen address. It catches what can be
// known without the host; the agent knows the rest.
func checkListen(s string) error {
	network, rest, ok := strings.Cut(s, "://")
	if !ok {
		return fmt.Errorf("%q is not an address: want tcp://IP:PORT, udp://IP:PORT or unix:///PATH", s)
	}
	switch network {
	case "tcp", "udp":
		return checkInet(rest)
	case "unix":
		return checkUnix(rest)
	}
	return fmt.Errorf("%q: unknown network %q: want tcp, udp or unix", s, network)
}

func checkInet(s string) error {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return fmt.Errorf("%q has no port: want IP:PORT", s)
	}
	host, port := s[:i], s[i+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	if host == "" || host == "*" {
		return nil
	}
	bare, closed := strings.CutSuffix(strings.TrimPrefix(host, "["), "]")
	ip, err := netip.ParseAddr(bare)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not an IP address: names are not resolved, since an address must stay what it was", host)
	case ip.Is6() && !(closed && strings.HasPrefix(host, "[")):
		return fmt.Errorf("write the IPv6 address as [%s]:%s", bare, port)
	case ip.Is4() && bare != host:
		return fmt.Errorf("%q is not an IPv6 address", host)
	}
	return nil
}

func checkUnix(p string) error {
	switch {
	case strings.HasPrefix(p, "@"):
		return fmt.Errorf("abstract socket %q: only paths can be switched from one generation to the next", p)
	case !path.IsAbs(p) || path.Clean(p) != p || p == "/":
		return fmt.Errorf("unix path %q must be absolute and clean, as unix:///run/web.sock", p)
	case len(p) > maxUnixPath:
		return fmt.Errorf("unix path of %d bytes: the kernel takes at most %d", len(p), maxUnixPath)
	}
	return nil
}
