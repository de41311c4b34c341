package registry

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"

	"github.com/gracefleet/gracefleet/internal/label"
)

// Options are where and how a host is registered, as its administrator writes them.
type Options struct {
	// Etcd are the members, https://HOST:PORT; http:// for loopback alone. None means
	// not at all.
	Etcd []string `yaml:"etcd"`
	// CA is a file with the certificates of those who issue the members', PEM.
	CA string `yaml:"ca"`
	// Cert and Key prove the agent to them, PEM; both or none.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// User, and a file with its password on the first line; both or none.
	User         string `yaml:"user"`
	PasswordFile string `yaml:"password_file"`
	// Prefix of the keys; /gracefleet/ if empty.
	Prefix string `yaml:"prefix"`
	// Address is HOST:PORT at which clients reach the agent; empty if that is where it
	// listens or what its certificate is for.
	Address string `yaml:"address"`
	// Labels of the host in inventories.
	Labels map[string]string `yaml:"labels"`
}

// Host is what clients are told of a host, in an inventory's form.
type Host struct {
	Name    string            `json:"name"`
	Address string            `json:"address"`
	AgentID string            `json:"agent_id"`
	Labels  map[string]string `json:"labels,omitempty"`
}

const (
	maxLabels  = 64
	maxMembers = 32
)

var prefixForm = regexp.MustCompile(`\A(/[A-Za-z0-9._-]+)+/?\z`)

// Entry is what is registered, and where.
type Entry struct {
	options Options
	members []member
	key     string
	value   string
}

// member is one of etcd's.
type member struct {
	address string // HOST:PORT
	tls     bool
}

// Entry checks what the administrator says; name and identity are those of the agent's
// certificate, and address is where it is reached unless the options say. It is nil
// without any etcd.
func (o Options) Entry(name, agentID, address string) (*Entry, error) {
	if len(o.Etcd) == 0 {
		if o.CA+o.Cert+o.Key+o.User+o.PasswordFile+o.Prefix+o.Address != "" || len(o.Labels) > 0 {
			return nil, errors.New("etcd is missing: want the members, such as etcd: [\"https://etcd-1.example.org:2379\"]")
		}
		return nil, nil
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	e := &Entry{options: o}
	for _, text := range o.Etcd {
		m, err := parseMember(text)
		if err != nil {
			return nil, fmt.Errorf("etcd: %w", err)
		}
		if m.tls && o.CA == "" {
			return nil, fmt.Errorf("ca is missing: the file with the certificates of those who issue that of %s", m.address)
		}
		e.members = append(e.members, m)
	}
	host := Host{Name: name, AgentID: agentID, Address: address, Labels: o.Labels}
	if o.Address != "" {
		host.Address = o.Address
	}
	if h, port, err := net.SplitHostPort(host.Address); err != nil || h == "" || port == "" {
		return nil, fmt.Errorf("address %q: want HOST:PORT at which clients reach this agent", host.Address)
	}
	value, err := json.Marshal(host)
	if err != nil {
		return nil, err
	}
	prefix := o.Prefix
	if prefix == "" {
		prefix = "/gracefleet/"
	}
	if prefix[len(prefix)-1] != '/' {
		prefix += "/"
	}
	e.key, e.value = prefix+"hosts/"+name, string(value)
	return e, nil
}

func (o Options) check() error {
	switch {
	case len(o.Etcd) > maxMembers:
		return fmt.Errorf("etcd: %d members: at most %d", len(o.Etcd), maxMembers)
	case (o.Cert == "") != (o.Key == ""):
		return errors.New("cert and key: one is missing")
	case (o.User == "") != (o.PasswordFile == ""):
		return errors.New("user and password_file: one is missing")
	case o.Prefix != "" && !prefixForm.MatchString(o.Prefix):
		return fmt.Errorf("prefix %q: want letters, digits and . _ - between slashes, such as /gracefleet/", o.Prefix)
	case len(o.Labels) > maxLabels:
		return fmt.Errorf("labels: %d of them: at most %d", len(o.Labels), maxLabels)
	}
	for key, value := range o.Labels {
		switch {
		case label.Reserved(key):
			return fmt.Errorf("labels: every host has a %s by itself: call it otherwise", key)
		case !label.ValidKey(key):
			return fmt.Errorf("labels: %q is none: use 1 to 63 letters and digits, and . _ - / between them", key)
		case !label.ValidValue(value):
			return fmt.Errorf("labels: %s: %q: use up to 128 letters, digits and . _ - : / @ +", key, value)
		}
	}
	return nil
}

func parseMember(text string) (member, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return member{}, errors.New("want members as https://HOST:PORT") // without the text: it may have a password in it
	case u.User != nil:
		return member{}, fmt.Errorf("%s: the user and its password are user and password_file", u.Host)
	}
	m := member{address: u.Host, tls: u.Scheme == "https"}
	if u.Port() == "" {
		m.address = net.JoinHostPort(u.Hostname(), "2379")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); !m.tls && u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()) {
		return member{}, fmt.Errorf("http://%s: without TLS anybody on the way reads and changes everything: http is for loopback alone", m.address)
	}
	return m, nil
}

// same says whether another entry is, as far as can be known, the same key in the same
// etcd.
func (e *Entry) same(other *Entry) bool {
	return other != nil && other.key == e.key && slices.ContainsFunc(other.members, func(m member) bool { return slices.Contains(e.members, m) })
}

// lease is the same for the same agent and key, and nobody else's: so the agent knows
// its own key after a restart, and another agent's of the same name.
func (e *Entry) lease(stateID string) int64 {
	sum := sha256.Sum256([]byte("gracefleet registry\x00" + stateID + "\x00" + e.key))
	return int64(binary.BigEndian.Uint64(sum[:]) & math.MaxInt64)
}
