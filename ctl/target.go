package ctl

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/gracefleet/gracefleet/api"
	"github.com/gracefleet/gracefleet/ctl/internal/contexts"
	"github.com/gracefleet/gracefleet/ctl/internal/etcd"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory/fetch"
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
func (s *session) configDir() (string, bool) {
	// A relative path there counts as none, says the XDG specification.
	if config := s.stdio.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(config) {
		return filepath.Join(config, "gracefleet"), true
	}
	if home := s.stdio.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".config", "gracefleet"), true
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

// hosts are those that the flags choose of the inventory. It is read once in a run.
func (s *session) hosts(ctx context.Context) ([]inventory.Host, error) {
	if s.chosen == nil {
		choice, err := s.choice(ctx)
		if err != nil {
			return nil, err
		}
		if s.chosen, err = s.known.Choose(choice); err != nil {
			return nil, asUsage(err)
		}
	}
	return s.chosen, nil
}

// asUsage makes an error one of use, unless it says what it is.
func asUsage(err error) error {
	var known *exitError
	if errors.As(err, &known) {
		return err
	}
	return &exitError{ExitUsage, err}
}

// choice is what the flags ask for, of an inventory that is known then.
func (s *session) choice(ctx context.Context) (inventory.Choice, error) {
	var none inventory.Choice
	if err := s.resolve(); err != nil {
		return none, err
	}
	switch {
	case s.to.inventory == "":
		return none, usage("--hosts, --all and --limit choose from an inventory: name it with --inventory, GRACECTL_INVENTORY or --context")
	case s.flags.all && len(s.flags.hosts) > 0:
		return none, usage("--all and --hosts: say one of them")
	case !s.flags.all && len(s.flags.hosts) == 0:
		return none, usage("of the inventory %s: which hosts? --hosts SELECTOR, or --all", s.to.inventory)
	}
	choice, err := s.flags.choice()
	if err != nil {
		return none, err
	}
	choice.Sets = func(word, argument string) ([]string, error) { return s.hostsOfRollout(ctx, word, argument) }
	return choice, s.readInventory(ctx)
}

// readInventory makes the inventory known.
func (s *session) readInventory(ctx context.Context) error {
	if s.known != nil {
		return nil
	}
	from, err := fetch.Parse(s.to.inventory, s.to.etcd)
	if err != nil {
		return &exitError{ExitUsage, err}
	}
	s.known, err = from.Read(ctx)
	return err
}

// several says whether more than one host is meant.
func (s *session) several(ctx context.Context) (bool, error) {
	if err := s.resolve(); err != nil {
		return false, err
	}
	if s.to.inventory == "" && !s.flags.choose() {
		return false, nil
	}
	hosts, err := s.hosts(ctx)
	return len(hosts) > 1, err
}

// choice is what the flags ask for.
func (t *targetFlags) choice() (inventory.Choice, error) {
	var c inventory.Choice
	for _, flag := range []struct {
		texts []string
		to    *[]inventory.Selector
	}{{t.hosts, &c.Hosts}, {t.limit, &c.Limit}} {
		for _, text := range flag.texts {
			selector, err := inventory.ParseSelector(text)
			if err != nil {
				return c, &exitError{ExitUsage, err}
			}
			*flag.to = append(*flag.to, selector)
		}
	}
	return c, nil
}

// oneHost is the host of a command that asks one agent.
func (s *session) oneHost(ctx context.Context) (inventory.Host, error) {
	if err := s.resolve(); err != nil {
		return inventory.Host{}, err
	}
	if s.to.inventory == "" && !s.flags.choose() {
		return inventory.Host{Name: s.to.agent, Address: s.to.agent, AgentID: s.to.agentID}, nil
	}
	hosts, err := s.hosts(ctx)
	if err != nil {
		return inventory.Host{}, err
	}
	if len(hosts) > 1 {
		return inventory.Host{}, usage("this command takes one host, and %d are chosen: %s", len(hosts), few(names(hosts)))
	}
	return hosts[0], nil
}

func names(hosts []inventory.Host) []string {
	all := make([]string, len(hosts))
	for i, h := range hosts {
		all[i] = h.Name
	}
	return all
}

// few names the first of many.
func few(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + ", ..."
}
