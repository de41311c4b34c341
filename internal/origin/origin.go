package origin

import (
	"net"
	"net/netip"
)

// prefixIPv6 is how many bits of an address a host is known by: it has all of the
// addresses that begin so (RFC 4291, section 2.5.1).
const prefixIPv6 = 64

// Of tells apart where connections come from, so that nobody has all the places for
// them: an IPv4 address, or the /64 of an IPv6 one.
func Of(a net.Addr) string {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	ip := at.Addr().Unmap()
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.WithZone("").Prefix(prefixIPv6)
	if err != nil {
		return ip.String()
	}
	return prefix.String()
}
