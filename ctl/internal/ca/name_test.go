package ca

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNames(t *testing.T) {
	for name, good := range map[string]bool{
		"a": true, "alice": true, "web-1": true, "ci.deploy_2": true, "a..b": true, strings.Repeat("a", 63): true, "0": true,
		"": false, "Alice": false, "-a": false, "a-": false, ".a": false, "a.": false, "..": false, "a/b": false, "a b": false, "ä": false,
		strings.Repeat("a", 64): false, "a\n": false, "ca": false, "crl": false,
	} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for role, good := range map[string]bool{"operator": true, "ca": true, "read": true, "agent": false, "": false, "a/b": false} {
		if err := CheckRole(role); (err == nil) != good {
			t.Errorf("role %q: %v", role, err)
		}
	}
}

func TestTrustDomains(t *testing.T) {
	long := strings.Repeat("abcdefg.", 31) + "abcdefg" // 255
	for domain, good := range map[string]bool{
		"example.org": true, "example": true, "a_b-c.example": true, "x--y": true, long: true,
		"": false, "Example.org": false, "example.org/": false, "spiffe://example.org": false, "example.org:1": false, "10.0.0.1": false,
		"a..b": false, ".a": false, "a.": false, long + "h": false, strings.Repeat("a", 64): false, "exämple": false,
	} {
		if err := CheckTrustDomain(domain); (err == nil) != good {
			t.Errorf("trust domain %q: %v", domain, err)
		}
	}
}

// What is accepted as a trust domain must work as a constraint.
func TestEveryTrustDomainWorks(t *testing.T) {
	for _, domain := range []string{"example", "a_b-c.example", "-x-", "_", "1.2.3", strings.Repeat("abcdefg.", 31) + "abcdefg"} {
		dir := t.TempDir()
		a, err := Create(t.Context(), dir, domain)
		if err != nil || a.TrustDomain() != domain {
			t.Errorf("%s: %v", domain, err)
			continue
		}
		s := reopen(t, dir, time.Now())
		if _, err := s.Issue(web1, OutputIn(t.TempDir(), "web-1")); err != nil {
			t.Errorf("%s: %v", domain, err)
		}
	}
}

func TestHosts(t *testing.T) {
	got, err := ParseHosts([]string{"Web-1.Example.org", "10.0.0.5", "[FD00::5]", "::ffff:10.0.0.6", "web-1.example.org", "my_host"})
	if want := []string{"web-1.example.org", "10.0.0.5", "fd00::5", "10.0.0.6", "my_host"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	for text, why := range map[string]string{
		"": "empty", "*.example.org": "not many", "web-1:7443": "port", "https://web-1": "port", "10.0.0.300": "neither", "10.0.0": "neither",
		"web-1.": "neither", "-web": "neither", "a..b": "neither", "wéb": "neither", "fe80::1%eth0": "zone", "0.0.0.0": "called", "::": "called",
		strings.Repeat("a", 64): "63 characters", strings.Repeat("a.", 127) + "a": "neither", "web 1": "neither",
	} {
		if _, err := ParseHosts([]string{text}); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("host %q: %v, want %q", text, err, why)
		}
	}
}

func TestLifetimes(t *testing.T) {
	for text, want := range map[string]time.Duration{"90d": 90 * day, "720h": 720 * time.Hour, "1s": time.Second, "1h30m": 90 * time.Minute, "36600d": maxLifetime} {
		if d, err := ParseLifetime(text); err != nil || d != want {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "d", "90", "-1d", "-5h", "0d", "0s", "1ms", "1.5d", "36601d", "99999999999d", "9000000h", "1w", "+1d", "90 d"} {
		if d, err := ParseLifetime(text); err == nil {
			t.Errorf("%q became %v", text, d)
		}
	}
	for d, want := range map[time.Duration]string{90 * day: "90d", 36 * time.Hour: "36h0m0s"} {
		if got := FormatLifetime(d); got != want {
			t.Errorf("%v became %q", d, got)
		}
	}
}
