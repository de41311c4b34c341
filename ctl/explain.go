package ctl

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/spec"
	"github.com/gracefleet/gracefleet/internal/handover"
)

func newExplain(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "explain",
		Short:   "Explain the service file, known programs, rollouts and gracectl's settings",
		Example: example("gracectl explain spec", "gracectl explain presets nginx", "gracectl explain rollouts"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("say what: explain spec, dialects, presets, rollouts or config")
		},
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:     "spec",
			Short:   "Every key of the service file: type, default, meaning",
			Example: example("gracectl explain spec | grep drain"),
			Args:    cobra.NoArgs,
			RunE:    func(*cobra.Command, []string) error { return s.explainSpec() },
		},
		&cobra.Command{
			Use:     "dialects",
			Short:   "How programs are told about their sockets, and the placeholders of the service file",
			Example: example("gracectl explain dialects"),
			Args:    cobra.NoArgs,
			RunE:    func(*cobra.Command, []string) error { return s.explainDialects() },
		},
		&cobra.Command{
			Use:               "presets [NAME]",
			Short:             "Known programs: what a preset fills in, and what their own configuration needs",
			Example:           example("gracectl explain presets", "gracectl explain presets nginx"),
			Args:              cobra.MaximumNArgs(1),
			ValidArgsFunction: cobra.FixedCompletions(handover.PresetNames(), cobra.ShellCompDirectiveNoFileComp),
			RunE:              func(_ *cobra.Command, args []string) error { return s.explainPresets(args) },
		},
		&cobra.Command{
			Use:     "rollouts",
			Short:   "Upgrades of many hosts: order, budgets, who drives, exit codes",
			Example: example("gracectl explain rollouts"),
			Args:    cobra.NoArgs,
			RunE:    func(*cobra.Command, []string) error { return s.explainRollouts() },
		},
		&cobra.Command{
			Use:     "config",
			Short:   "Where gracectl's settings come from",
			Example: example("gracectl explain config"),
			Args:    cobra.NoArgs,
			RunE:    func(*cobra.Command, []string) error { return s.explainConfig() },
		})
	return cmd
}

func (s *session) explainSpec() error {
	if !s.structured() {
		return spec.Explain(s.stdio.Out)
	}
	keys := []object{}
	for _, k := range spec.Keys() {
		keys = append(keys, object{{"key", k.Path}, {"type", k.Type}, {"default", k.Default}, {"meaning", k.Meaning}})
	}
	return s.print(object{{"keys", keys}})
}

// settings are what gracectl takes from its environment. A flag wins.
var settings = [][4]string{
	{"--agent", "GRACECTL_AGENT", "unix:/run/gracefleet/graced.sock as root, else unix:$XDG_RUNTIME_DIR/gracefleet/graced.sock", "the agent to talk to, unix:PATH or HOST:PORT"},
	{"--inventory", "GRACECTL_INVENTORY", "", "hosts instead: FILE, exec:/PROGRAM, srv:_SERVICE._tcp.DOMAIN or etcds://HOST/PREFIX; --hosts, --all and --limit choose from them"},
	{"--coordinator", "GRACECTL_COORDINATOR", "none", "etcds://HOST/PREFIX, by which a service is one rollout's at a time on whatever hosts"},
	{"", "GRACECTL_ETCD_CA", "", "certificates of those who issue etcd's; the key of a context is etcd_ca"},
	{"", "GRACECTL_ETCD_CERT", "", "your certificate for etcd; etcd_cert"},
	{"", "GRACECTL_ETCD_KEY", "", "its key; etcd_key"},
	{"", "GRACECTL_ETCD_USER", "", "your user of etcd; etcd_user"},
	{"", "GRACECTL_ETCD_PASSWORD_FILE", "", "file with that user's password; etcd_password_file"},
	{"--context", "GRACECTL_CONTEXT", "the current one of $XDG_CONFIG_HOME/gracefleet/gracectl.yaml, else of ~/.config", "named settings of that file"},
	{"--tls-cert", "GRACECTL_TLS_CERT", "", "your certificate, for an agent on the network"},
	{"--tls-key", "GRACECTL_TLS_KEY", "", "its key"},
	{"--tls-ca", "GRACECTL_TLS_CA", "", "certificates of those who issue agents'"},
	{"--agent-id", "GRACECTL_AGENT_ID", "the agent's certificate must be for the host's name", "spiffe:// identity that the agent must have instead"},
	{"--dir", "XDG_CONFIG_HOME", "$XDG_CONFIG_HOME/gracefleet/ca, else ~/.config/gracefleet/ca", "the CA of gracectl cert"},
	{"--delta-from", "XDG_CACHE_HOME", "copies of what was pushed, in $XDG_CACHE_HOME/gracefleet, else ~/.cache/gracefleet", "what an artifact may be sent as a difference to"},
	{"--key", "GRACECTL_SIGNING_KEY", "", "the secret key of gracectl sign"},
	{"--password-file", "GRACECTL_PASSWORD_FILE", "asks on the terminal", "the password of that key"},
	{"--no-color", "NO_COLOR", "colours on a terminal", "no colours; TERM=dumb does the same and stops animation"},
	{"--output", "", "table", "table, json or yaml"},
	{"--timeout", "", "no limit", "limit of the wait, never of the upgrade"},
}

func (s *session) explainConfig() error {
	if s.structured() {
		all := []object{}
		for _, row := range settings {
			all = append(all, object{{"flag", row[0]}, {"environment", row[1]}, {"default", row[2]}, {"meaning", row[3]}})
		}
		return s.print(object{{"settings", all}})
	}
	t := &table{head: []string{"FLAG", "ENVIRONMENT", "DEFAULT", "MEANING"}}
	for _, row := range settings {
		t.add(cell{row[0], ""}, cell{row[1], ""}, cell{row[2], ""}, cell{fmt.Sprint(row[3]), ""})
	}
	return s.printTable(t)
}
