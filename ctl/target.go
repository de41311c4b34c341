package ctl

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/gracefleet/gracefleet/api"
	"github.com/gracefleet/gracefleet/ctl/internal/contexts"
	"github.com/gracefleet/gracefleet/ctl/internal/etcd"
)

// targetFlags are the flags that say where a command goes.
type targetFlags struct {
	agent, inventory, context string
	hosts, limit              []string
	all                       bool
	coordinator               string
	noCoordinator             bool
	tls                       api.TLS
}

func (t *targetFlags) register(f *pflag.FlagSet) {
	f.StringVar(&t.agent, "agent", "", "agent's address, unix:PATH or HOST:PORT (env GRACECTL_AGENT; default the local socket)")
	f.StringVar(&t.inventory, "inventory", "", "hosts to choose from: FILE, exec:/PROGRAM, srv:_SERVICE._tcp.DOMAIN or etcds://HOST/PREFIX (env GRACECTL_INVENTORY)")
	f.StringArrayVar(&t.hosts, "hosts", nil, "hosts of the inventory, such as role=web,zone!=b or web-1,web-2; may be repeated")
	f.BoolVar(&t.all, "all", false, "all hosts of the inventory")
	f.StringArrayVar(&t.limit, "limit", nil, "of those only the ones that this selector means; may be repeated")
	f.StringVar(&t.coordinator, "coordinator", "", "etcds://HOST/PREFIX, by which a service is one rollout's at a time on whatever hosts (env GRACECTL_COORDINATOR)")
	f.BoolVar(&t.noCoordinator, "no-coordinator", false, "do without the one of the environment or the context, as when it is away")
	f.StringVar(&t.context, "context", "", "named settings of the configuration file (env GRACECTL_CONTEXT; see gracectl explain config)")
	f.StringVar(&t.tls.CertFile, "tls-cert", "", "your certificate, for an agent on the network (env GRACECTL_TLS_CERT)")
	f.StringVar(&t.tls.KeyFile, "tls-key", "", "its key (env GRACECTL_TLS_KEY)")
	f.StringVar(&t.tls.CAFile, "tls-ca", "", "certificates of those who issue agents' (env GRACECTL_TLS_CA)")
	f.StringVar(&t.tls.AgentID, "agent-id", "", "spiffe:// identity that the agent must have, instead of the host's name (env GRACECTL_AGENT_ID)")
}

// choose says whether hosts of an inventory are asked for.
func (t *targetFlags) choose() bool { return t.all || len(t.hosts) > 0 || len(t.limit) > 0 }

// alone says whether the run goes to one agent that no inventory lists. Where it goes
// is resolved already.
func (s *session) alone() bool { return s.to.inventory == "" && !s.flags.choose() }

// destination is where a run goes, and as whom: to one agent, or to hosts of an
// inventory.
type destination struct {
	agent, agentID string
	inventory      string
	coordinator    *etcd.Place // nil without one
	etcd           etcd.Access
	tls            api.TLS // without an identity: each host has its own
}

// resolve finds out where the run goes: flags count before the environment, and that
// before the configuration file.
func (s *session) resolve() error {
	if s.to != nil {
		return nil
	}
	named, err := s.context()
	if err != nil {
		return err
	}
	flags, env := s.flags, s.stdio.Getenv
	to := &destination{
		tls: api.TLS{
			CertFile: cmp.Or(flags.tls.CertFile, env("GRACECTL_TLS_CERT"), named.TLSCert),
			KeyFile:  cmp.Or(flags.tls.KeyFile, env("GRACECTL_TLS_KEY"), named.TLSKey),
			CAFile:   cmp.Or(flags.tls.CAFile, env("GRACECTL_TLS_CA"), named.TLSCA),
		},
		agentID: cmp.Or(flags.tls.AgentID, env("GRACECTL_AGENT_ID")),
		etcd:    s.etcdAccess(named),
	}
	switch {
	case flags.agent != "" && flags.inventory != "":
		return usage("--agent and --inventory: say one of them")
	case flags.agent != "" || flags.inventory != "":
		to.agent, to.inventory = flags.agent, flags.inventory
	case env("GRACECTL_AGENT") != "" && env("GRACECTL_INVENTORY") != "":
		return usage("GRACECTL_AGENT and GRACECTL_INVENTORY are both set: say --agent or --inventory")
	case env("GRACECTL_AGENT") != "" || env("GRACECTL_INVENTORY") != "":
		to.agent, to.inventory = env("GRACECTL_AGENT"), env("GRACECTL_INVENTORY")
	default:
		to.agent, to.inventory = named.Agent, named.Inventory
		to.agentID = cmp.Or(to.agentID, named.AgentID)
	}
	if to.inventory != "" && flags.tls.AgentID != "" {
		return usage("--agent-id is for one --agent: in an inventory each host has its agent_id")
	}
	if to.agent == "" {
		to.agent = s.localSocket()
	}
	if to.coordinator, err = s.coordinatorPlace(named); err != nil {
		return err
	}
	s.to = to
	return nil
}

// configDir is where the user's own configuration is; false when nothing says so.
func (s *session) configDir() (string, bool) { return s.userDir("XDG_CONFIG_HOME", ".config") }

// userDir is our directory in one of the user's, which the environment names, or else
// in that of the home directory.
func (s *session) userDir(variable, inHome string) (string, bool) {
	// A relative path there counts as none, says the XDG specification.
	if dir := s.stdio.Getenv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "gracefleet"), true
	}
	if home := s.stdio.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, inHome, "gracefleet"), true
	}
	return "", false
}

// context is what the configuration file says, if there is one.
func (s *session) context() (contexts.Context, error) {
	name := cmp.Or(s.flags.context, s.stdio.Getenv("GRACECTL_CONTEXT"))
	dir, ok := s.configDir()
	path := filepath.Join(dir, "gracectl.yaml")
	data, err := readOwn(path)
	var foreign *foreignError
	switch {
	case !ok && name != "":
		return contexts.Context{}, usage("context %q: neither XDG_CONFIG_HOME nor HOME is set, so there is no configuration file", name)
	case !ok || errors.Is(err, fs.ErrNotExist) && name == "":
		return contexts.Context{}, nil
	case errors.As(err, &foreign) && name == "":
		// As under sudo: what the file names is run and trusted, so it is not asked.
		s.note("note: %v: it is not read", err)
		return contexts.Context{}, nil
	case err != nil:
		return contexts.Context{}, err
	}
	file, err := contexts.Parse(path, data)
	if err != nil {
		return contexts.Context{}, err
	}
	found, err := file.Find(name)
	if err != nil {
		return contexts.Context{}, usage("%s: %w", path, err)
	}
	return found, nil
}

// foreignError is about a file that somebody else decides on.
type foreignError struct{ path string }

func (e *foreignError) Error() string {
	return e.path + " is somebody else's, or everybody may write it"
}

// readOwn reads a file that is the caller's or root's.
func readOwn(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && (owner.Uid != 0 && int(owner.Uid) != os.Geteuid() || info.Mode().Perm()&0o002 != 0) {
		return nil, &foreignError{path}
	}
	return io.ReadAll(io.LimitReader(f, contexts.MaxBytes+1))
}
