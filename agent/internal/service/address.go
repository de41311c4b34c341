package service

import (
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// Network is the kind of a listening socket.
type Network string

// The networks a service may listen on.
const (
	TCP  Network = "tcp"
	UDP  Network = "udp"
	Unix Network = "unix"
)

// Address is where a socket listens. It is comparable: two equal Addresses can
// share one group, two that overlap without being equal cannot.
type Address struct {
	Network Network `json:"network"`
	// IP and Port for tcp and udp. "[::]" without V6Only is dual-stack.
	IP     netip.Addr `json:"ip,omitzero"`
	Port   uint16     `json:"port,omitempty"`
	V6Only bool       `json:"v6only,omitempty"`
	Device string     `json:"device,omitempty"`
	// Path for unix; absolute and clean.
	Path string `json:"path,omitempty"`
}

// maxUnixPath is sockaddr_un's sun_path less its final NUL (unix(7)).
const maxUnixPath = 107

// ParseAddress reads "tcp://HOST:PORT", "udp://HOST:PORT" or "unix:///PATH".
// HOST is an IP address; empty or "*" means the IPv4 wildcard, "[::]" the
// dual-stack wildcard.
func ParseAddress(s string) (Address, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return Address{}, fmt.Errorf("%q is not an address: want tcp://IP:PORT, udp://IP:PORT or unix:///PATH", s)
	}
	switch n := Network(scheme); n {
	case TCP, UDP:
		return parseInet(n, rest)
	case Unix:
		return parseUnix(rest)
	default:
		return Address{}, fmt.Errorf("%q: unknown network %q: want tcp, udp or unix", s, scheme)
	}
}

func parseInet(n Network, s string) (Address, error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return Address{}, fmt.Errorf("%q has no port: want IP:PORT", s)
	}
	host, port := s[:i], s[i+1:]
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || p == 0 {
		return Address{}, fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	ip := netip.IPv4Unspecified()
	switch {
	case host == "" || host == "*":
	case strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]"):
		if ip, err = netip.ParseAddr(host[1 : len(host)-1]); err != nil || !ip.Is6() {
			return Address{}, fmt.Errorf("%q is not an IPv6 address", host)
		}
	default:
		if ip, err = netip.ParseAddr(host); err != nil {
			return Address{}, fmt.Errorf("%q is not an IP address: names are not resolved, since an address must stay what it was", host)
		}
		if ip.Is6() {
			return Address{}, fmt.Errorf("write the IPv6 address as [%s]:%s", host, port)
		}
	}
	if ip.Is4In6() {
		return Address{}, fmt.Errorf("%q: write %s as an IPv4 address", s, ip.Unmap())
	}
	return Address{Network: n, IP: ip, Port: uint16(p)}, nil
}

func parseUnix(p string) (Address, error) {
	switch {
	case strings.HasPrefix(p, "@") || strings.HasPrefix(p, "\x00"):
		return Address{}, fmt.Errorf("abstract socket %q: only paths can be switched from one generation to the next", p)
	case !path.IsAbs(p) || path.Clean(p) != p || p == "/":
		return Address{}, fmt.Errorf("unix path %q must be absolute and clean, as unix:///run/web.sock", p)
	case len(p) > maxUnixPath:
		return Address{}, fmt.Errorf("unix path of %d bytes: the kernel takes at most %d", len(p), maxUnixPath)
	}
	return Address{Network: Unix, Path: p}, nil
}

// String is the form ParseAddress reads; V6Only and Device are not part of it.
func (a Address) String() string {
	if a.Network == Unix {
		return "unix://" + a.Path
	}
	return string(a.Network) + "://" + netip.AddrPortFrom(a.IP, a.Port).String()
}

// DualStack says whether the socket also takes IPv4 connections on IPv6.
func (a Address) DualStack() bool {
	return a.IP.Is6() && a.IP.IsUnspecified() && !a.V6Only
}

// Overlaps says whether some connection could reach either address. Equal
// addresses overlap.
func (a Address) Overlaps(b Address) bool {
	if a.Network != b.Network {
		return false
	}
	if a.Network == Unix {
		return a.Path == b.Path
	}
	if a.Port != b.Port || (a.Device != "" && b.Device != "" && a.Device != b.Device) {
		return false
	}
	if a.IP == b.IP {
		return true
	}
	if a.IP.Is4() == b.IP.Is4() {
		return a.IP.IsUnspecified() || b.IP.IsUnspecified()
	}
	return a.DualStack() || b.DualStack()
}
