package access

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"strings"
	"testing"

	"github.com/gracefleet/gracefleet/internal/identity"
)

func TestGrants(t *testing.T) {
	p := &Policy{
		Labels: map[string]string{"env": "prod", "zone": "b"},
		Roles: map[string]Role{
			"ci":        {May: []Permission{Push, Upgrade}, Services: []string{"web", "api-*"}},
			"elsewhere": {May: []Permission{Admin}, Hosts: []string{"env=staging", "env=prod,zone=a"}},
			"here":      {May: []Permission{Stop}, Hosts: []string{"env=staging", "env=prod,zone=b"}},
			"operator":  {May: []Permission{Read}},
		},
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		roles   []string
		may     Permission
		service string
		want    bool
	}{
		"its service":               {[]string{"ci"}, Upgrade, "web", true},
		"by a pattern":              {[]string{"ci"}, Push, "api-v2", true},
		"another service":           {[]string{"ci"}, Upgrade, "db", false},
		"a longer name":             {[]string{"ci"}, Upgrade, "web2", false},
		"no service":                {[]string{"ci"}, Upgrade, "", false},
		"another permission":        {[]string{"ci"}, Rollback, "web", false},
		"host of other labels":      {[]string{"elsewhere"}, Read, "web", false},
		"host of these labels":      {[]string{"here"}, Stop, "web", true},
		"redefined":                 {[]string{"operator"}, Upgrade, "web", false},
		"built in":                  {[]string{"rollback"}, Rollback, "web", true},
		"built in, another":         {[]string{"rollback"}, Upgrade, "web", false},
		"admin is all":              {[]string{"admin"}, Logs, "web", true},
		"two roles":                 {[]string{"ci", "here"}, Stop, "db", true},
		"two roles, not their mix":  {[]string{"ci", "here"}, Push, "db", false},
		"unknown role":              {[]string{"root"}, Read, "web", false},
		"no role":                   {nil, Read, "web", false},
		"an agent's":                {[]string{identity.AgentRole}, Read, "web", false},
		"a role that is permission": {[]string{"read"}, Logs, "web", false},
	} {
		if got := p.Grants(c.roles...).Allow(c.may, c.service); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	ci := p.Grants("ci")
	if ci.AllowEverywhere(Push) || !ci.AllowSomewhere(Push) || ci.AllowSomewhere(Read) {
		t.Errorf("scoped %v", ci)
	}
	if all := Everything(); !all.AllowEverywhere(Logs) || !all.Allow(Admin, "x") {
		t.Errorf("root has %v", all)
	}
	if text := p.Grants("ci", "here").String(); text != "push, upgrade on web, api-*; stop on every service" {
		t.Error(text)
	}
}

// A role that is defined and says nothing of what it may, or a typing error, must
// not come to more than was meant.
func TestValidate(t *testing.T) {
	for words, p := range map[string]Policy{
		"may: is missing":            {Roles: map[string]Role{"ci": {}}},
		`"upgrades" is no permissio`: {Roles: map[string]Role{"ci": {May: []Permission{"upgrades"}}}},
		`"none" is no permission`:    {Roles: map[string]Role{"ci": {May: []Permission{None}}}},
		"is no pattern":              {Roles: map[string]Role{"ci": {May: []Permission{Read}, Services: []string{"[a"}}}},
		`services: "" is no`:         {Roles: map[string]Role{"ci": {May: []Permission{Read}, Services: []string{""}}}},
		"selects nothing":            {Roles: map[string]Role{"ci": {May: []Permission{Read}, Hosts: []string{"prod"}}}},
		"not a name":                 {Roles: map[string]Role{"CI": {May: []Permission{Read}}}},
		"is what agents are":         {Roles: map[string]Role{"agent": {May: []Permission{Read}}}},
		"groups.x: role":             {Groups: map[string]string{"x": "nobody"}},
		"certificates[0]: role":      {Certificates: []Mapping{{CommonName: "x", Role: "nobody"}}},
		"every certificate":          {Certificates: []Mapping{{Role: "read"}}},
		"labels.env":                 {Labels: map[string]string{"env": "a,b"}},
		"trust_domain":               {TrustDomain: "Example.org"},
	} {
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q: %v", words, err)
		}
	}
}

func TestIdentify(t *testing.T) {
	p := &Policy{TrustDomain: "example.org", Certificates: []Mapping{
		{CommonName: "ann", Unit: "ops", Role: "admin"}, {Unit: "ops", Role: "read"},
	}}
	for name, c := range map[string]struct {
		uris []string
		cn   string
		unit string
		want Identity
		text string
	}{
		"operator":        {uris: []string{"spiffe://example.org/gracefleet/operator/alice"}, want: Identity{"operator/alice", "operator"}},
		"beside others":   {uris: []string{"https://x/y", "spiffe://example.org/gracefleet/ci/web"}, want: Identity{"ci/web", "ci"}},
		"other domain":    {uris: []string{"spiffe://example.com/gracefleet/admin/alice"}, text: "another trust domain"},
		"two roles":       {uris: []string{"spiffe://example.org/gracefleet/read/a", "spiffe://example.org/gracefleet/admin/a"}, text: "carries 2"},
		"two, one spelt":  {uris: []string{"spiffe://example.org/gracefleet/read/a", "SPIFFE://example.org/gracefleet/admin/a"}, text: "carries 2"},
		"an agent":        {uris: []string{"spiffe://example.org/gracefleet/agent/web-1"}, text: "may not be a client"},
		"no form":         {uris: []string{"spiffe://example.org/ns/prod/sa/web"}, text: "is not spiffe://"},
		"role in CN only": {cn: "admin", text: "no mapping"},
		"nothing":         {text: "no mapping"},
		"mapped":          {cn: "ann", unit: "ops", want: Identity{"admin/ann", "admin"}},
		"mapped by unit":  {cn: "bob", unit: "ops", want: Identity{"read/bob", "read"}},
		"CN of another":   {cn: "ann", unit: "dev", text: "no mapping"},
		"spiffe first":    {uris: []string{"spiffe://example.org/gracefleet/read/ann"}, cn: "ann", unit: "ops", want: Identity{"read/ann", "read"}},
		"for a terminal":  {cn: "bob\x1b[2J", unit: "ops", text: "common name"},
		"to be read back": {cn: "bob\u202e", unit: "ops", text: "common name"},
		"without end":     {cn: strings.Repeat("b", 65), unit: "ops", text: "common name"},
		"bad and mapped":  {uris: []string{"spiffe://example.org/x"}, cn: "ann", unit: "ops", text: "is not spiffe://"},
	} {
		cert := &x509.Certificate{Subject: pkix.Name{CommonName: c.cn}}
		if c.unit != "" {
			cert.Subject.OrganizationalUnit = []string{c.unit}
		}
		for _, u := range c.uris {
			parsed, err := url.Parse(u)
			if err != nil {
				t.Fatal(err)
			}
			cert.URIs = append(cert.URIs, parsed)
		}
		got, err := p.Identify(cert)
		if got != c.want || (c.text == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.text)) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
