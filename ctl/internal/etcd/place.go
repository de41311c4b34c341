package etcd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

const (
	defaultPort   = "2379"
	defaultPrefix = "/gracefleet/"
	maxEndpoints  = 32
)

// Place is where in which etcd something is kept.
type Place struct {
	// Endpoints of the members, HOST:PORT.
	Endpoints []string
	// TLS is false for members on loopback alone.
	TLS bool
	// Prefix of every key; it begins and ends with a slash.
	Prefix string
}

// Is says whether a text means an etcd rather than something else.
func Is(text string) bool {
	return strings.HasPrefix(text, "etcd://") || strings.HasPrefix(text, "etcds://")
}

var (
	hostForm   = regexp.MustCompile(`\A[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\z`)
	prefixForm = regexp.MustCompile(`\A(/[A-Za-z0-9._-]+)+\z`)
)

// ParsePlace reads etcds://HOST:PORT,HOST:PORT/PREFIX, or etcd://, which is without
// TLS and so for loopback alone. Neither says who asks: that is Access.
func ParsePlace(text string) (Place, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "etcd" && scheme != "etcds" {
		return Place{}, fmt.Errorf("%q: want etcds://HOST:PORT,HOST:PORT/PREFIX", text)
	}
	if strings.Contains(rest, "@") {
		// Not repeated: it has a password in it.
		return Place{}, fmt.Errorf("an address of etcd has no user and no password: everybody on this machine reads arguments: set %s and %s", envUser, envPasswordFile)
	}
	hosts, prefix, _ := strings.Cut(rest, "/")
	p := Place{TLS: scheme == "etcds", Prefix: defaultPrefix}
	if prefix = strings.TrimSuffix("/"+prefix, "/"); prefix != "" {
		if !prefixForm.MatchString(prefix) {
			return Place{}, fmt.Errorf("%q: the prefix %s is none: use letters, digits and . _ - between slashes, such as /gracefleet/", text, prefix)
		}
		p.Prefix = prefix + "/"
	}
	for host := range strings.SplitSeq(hosts, ",") {
		endpoint, err := p.endpoint(host)
		if err != nil {
			return Place{}, fmt.Errorf("%q: %w", text, err)
		}
		p.Endpoints = append(p.Endpoints, endpoint)
	}
	if len(p.Endpoints) > maxEndpoints {
		return Place{}, fmt.Errorf("%d members of one etcd: at most %d", len(p.Endpoints), maxEndpoints)
	}
	return p, nil
}

func (p Place) endpoint(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = strings.Trim(text, "[]"), defaultPort
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil && !hostForm.MatchString(host):
		return "", fmt.Errorf("%q is not HOST or HOST:PORT", text)
	case !p.TLS && !ip.IsLoopback() && host != "localhost":
		return "", errors.New("without TLS anybody on the way reads and changes everything: etcd:// is for loopback, etcds:// for " + host)
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// String is a text that is read as the same place.
func (p Place) String() string {
	scheme := "etcd"
	if p.TLS {
		scheme = "etcds"
	}
	return scheme + "://" + strings.Join(p.Endpoints, ",") + p.Prefix
}
