package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"

	"github.com/goccy/go-yaml"
	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/certs"
	"github.com/gracefleet/gracefleet/agent/internal/fetch"
	"github.com/gracefleet/gracefleet/agent/internal/registry"
	"github.com/gracefleet/gracefleet/agent/internal/signatures"
)

// Config is what an agent is told. Empty fields take DefaultConfig's values.
type Config struct {
	StateDir   string `yaml:"state_dir"`
	RuntimeDir string `yaml:"runtime_dir"`
	// Socket is the local API's unix socket.
	Socket    string `yaml:"socket"`
	LogLevel  string `yaml:"log_level"`
	LogFormat string `yaml:"log_format"` // text or json
	// Listen is HOST:PORT of the API on the network; empty keeps it on the host.
	Listen string `yaml:"listen"`
	TLS    TLS    `yaml:"tls"`
	// Metrics is HOST:PORT of the figures for Prometheus; without a host, on loopback.
	Metrics string `yaml:"metrics"`
	// Access says who may do what.
	Access Access `yaml:"access"`
	Limits Limits `yaml:"limits"`
	Fetch  Fetch  `yaml:"fetch"`
	// RequireSignature are globs of services that run signed artifacts alone.
	RequireSignature []string `yaml:"require_signature"`
	// SigningKeys are those whose signatures count for that.
	SigningKeys []signatures.Key `yaml:"signing_keys"`
	// Registry is where clients find the host; the zero value registers it nowhere.
	Registry registry.Options `yaml:"registry"`
	// StopServices drains every service when the agent is told to end, as for
	// PID 1 of a container. By default services stay.
	StopServices bool `yaml:"stop_services"`
	// Drain adopts what runs, drains it and ends: for a host that shuts down. The
	// next agent starts the services again.
	Drain bool `yaml:"-"`

	// File is where the configuration came from; Access, Fetch, RequireSignature,
	// SigningKeys and Registry are read anew when it changes. Empty without one.
	File string `yaml:"-"`
	// ShimBinary is graced-shim; by default the one beside the agent.
	ShimBinary string `yaml:"-"`
	// Version of the agent, for info.
	Version string `yaml:"-"`
	// Log takes the agent's own log.
	Log hclog.Logger `yaml:"-"`
}

// TLS is how an agent proves itself on the network.
type TLS struct {
	certs.Files `yaml:",inline"`
	// Renew is HOST:PORT of the CA that renews certificate and revocation list, as
	// gracectl cert serve. Empty leaves the files to somebody else.
	Renew string `yaml:"renew"`
}

// Fetch is from where the agent fetches artifacts by itself; by default it does not.
type Fetch struct {
	// From are https URLs that end in a slash: what is below one may be fetched.
	From []string `yaml:"from"`
	// CA is a file of issuers that count for that beside the system's.
	CA string `yaml:"ca"`
	// Seeds lets it fetch from other agents, those that whoever may push names.
	Seeds bool `yaml:"seeds"`
}

// Access is the policy of a host, as its administrator writes it.
type Access struct {
	// TrustDomain of identities in certificates; the agent's own one's if empty.
	TrustDomain string `yaml:"trust_domain"`
	// Labels of this host, to which roles may be confined.
	Labels map[string]string      `yaml:"labels"`
	Roles  map[string]access.Role `yaml:"roles"`
	// Groups of this host's users may use the local socket, each with a role. Without
	// any, the group gracefleet has the role operator.
	Groups       map[string]string `yaml:"groups"`
	Certificates []access.Mapping  `yaml:"certificates"`
}

func (a Access) policy() *access.Policy {
	p := &access.Policy{TrustDomain: a.TrustDomain, Labels: a.Labels, Roles: a.Roles, Groups: a.Groups, Certificates: a.Certificates}
	if p.Groups == nil {
		p.Groups = map[string]string{socketGroup: "operator"}
	}
	return p
}

// signatures is the policy of which services run signed artifacts alone.
func (c *Config) signatures() (*signatures.Policy, error) {
	p, err := signatures.New(c.RequireSignature, c.SigningKeys, runtime.GOOS+"/"+runtime.GOARCH)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name(), err)
	}
	return p, nil
}

// fetching is the policy of what the agent fetches by itself.
func (c *Config) fetching() (*fetch.Policy, error) {
	p, err := fetch.NewPolicy(c.Fetch.From, c.Fetch.CA, c.Fetch.Seeds)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name(), err)
	}
	return p, nil
}

// DefaultConfigFile is read when no file is named, if it is there.
const DefaultConfigFile = "/etc/gracefleet/graced.yaml"

// DefaultConfig depends on who runs the agent: root uses the system's
// directories, anyone else the XDG ones.
func DefaultConfig() Config {
	c := Config{LogLevel: "info", LogFormat: "text"}
	if os.Geteuid() == 0 {
		c.StateDir, c.RuntimeDir = "/var/lib/gracefleet", "/run/gracefleet"
	} else {
		c.StateDir = filepath.Join(xdg("XDG_STATE_HOME", ".local/state"), "gracefleet")
		c.RuntimeDir = filepath.Join(userRuntimeDir(), "gracefleet")
	}
	c.Socket = filepath.Join(c.RuntimeDir, "graced.sock")
	return c
}

func xdg(variable, fallback string) string {
	if d := os.Getenv(variable); filepath.IsAbs(d) {
		return d
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), fmt.Sprintf("gracefleet-%d", os.Geteuid()))
	}
	return filepath.Join(home, fallback)
}

func userRuntimeDir() string {
	if d := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(d) {
		return d
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("gracefleet-%d", os.Geteuid()))
}

// ReadConfig reads a configuration file over the defaults. An unknown key is an
// error with its line. A file that is not there is one only when it is required.
func ReadConfig(path string, required bool, into *Config) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	before := *into
	if err := yaml.UnmarshalWithOptions(data, into, yaml.Strict()); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	if reflect.DeepEqual(*into, Config{}) { // what the library makes of comments alone
		*into = before
	}
	return nil
}

// name is how errors speak of the configuration.
func (c *Config) name() string {
	if c.File == "" {
		return "configuration"
	}
	return "configuration " + c.File
}

// complete fills in what follows from other fields and checks the rest.
func (c *Config) complete() error {
	d := DefaultConfig()
	if c.StateDir == "" {
		c.StateDir = d.StateDir
	}
	if c.RuntimeDir == "" {
		c.RuntimeDir = d.RuntimeDir
	}
	if c.Socket == "" {
		c.Socket = filepath.Join(c.RuntimeDir, "graced.sock")
	}
	for _, p := range []*string{&c.StateDir, &c.RuntimeDir, &c.Socket} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	if err := c.Access.policy().Validate(); err != nil {
		return fmt.Errorf("%s: access: %w", c.name(), err)
	}
	if n := len(c.Socket); n > 107 {
		return fmt.Errorf("socket path %s has %d bytes, the kernel takes at most 107: choose a shorter one", c.Socket, n)
	}
	if c.ShimBinary != "" {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find graced-shim: %w", err)
	}
	c.ShimBinary = filepath.Join(filepath.Dir(self), "graced-shim")
	if _, err := os.Stat(c.ShimBinary); err != nil {
		return fmt.Errorf("graced-shim must be installed beside graced: %w", err)
	}
	return nil
}
