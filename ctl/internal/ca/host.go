package ca

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

const maxHostName = 253

var (
	hostForm   = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)
	digitsForm = regexp.MustCompile(`^[0-9.]+$`)
)

// ParseHosts checks names and addresses of a host and brings them into the form
// in which they are compared.
func ParseHosts(texts []string) ([]string, error) {
	var hosts []string
	for _, text := range texts {
		host, err := parseHost(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts, nil
}

func parseHost(text string) (string, error) {
	if addr, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return hostAddress(text, addr)
	}
	name := strings.ToLower(text)
	switch {
	case text == "":
		return "", fmt.Errorf("host is empty")
	case strings.Contains(text, "*"):
		return "", fmt.Errorf("host %q: a certificate of an agent names its host, not many", text)
	case strings.Contains(text, ":"):
		return "", fmt.Errorf("host %q: leave out scheme and port", text)
	case digitsForm.MatchString(name):
		return "", fmt.Errorf("host %q is neither an IP address nor a name", text)
	case len(name) > maxHostName || !hostForm.MatchString(name):
		return "", fmt.Errorf("host %q is neither an IP address nor a DNS name", text)
	}
	return name, checkLabels("host", name)
}

func hostAddress(text string, addr netip.Addr) (string, error) {
	if addr.Zone() != "" {
		return "", fmt.Errorf("host %q: an address with a zone has no place in a certificate", text)
	}
	if addr.IsUnspecified() {
		return "", fmt.Errorf("host %q is no address that can be called", text)
	}
	return addr.Unmap().String(), nil
}
