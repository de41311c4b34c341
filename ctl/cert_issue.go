package ctl

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/ca"
	"github.com/gracefleet/gracefleet/internal/identity"
)

// agentPort is what examples have agents listen on.
const agentPort = "7443"

// lifetime is a flag's value: a duration that may be in days.
type lifetime time.Duration

func (l *lifetime) String() string { return ca.FormatLifetime(time.Duration(*l)) }
func (l *lifetime) Type() string   { return "duration" }
func (l *lifetime) Set(text string) error {
	d, err := ca.ParseLifetime(text)
	*l = lifetime(d)
	return err
}

// issuing is what cert issue was asked for.
type issuing struct {
	role, name, agent string
	hosts             []string
	out               string
	lifetime          lifetime
}

func newCertIssue(s *session, home func() (string, error)) *cobra.Command {
	i := issuing{lifetime: lifetime(ca.DefaultLifetime)}
	cmd := &cobra.Command{
		Use:   "issue (--role ROLE --name NAME | --agent NAME [--host HOST,...])",
		Short: "Issue a certificate to a client or an agent",
		Long: "Writes NAME.pem, NAME.key and a copy of ca.pem. A client's certificate says its role and\n" +
			"name; an agent's its name, and the names and addresses under which it is called.",
		Example: example("gracectl cert issue --role operator --name alice", "gracectl cert issue --role operator --name ci --for 30d --out ci",
			"gracectl cert issue --agent web-1 --host web-1.example.org,10.0.0.5"),
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&i.role, "role", "", "role of a client, such as operator")
	f.StringVar(&i.name, "name", "", "name of a client: a person or a pipeline")
	f.StringVar(&i.agent, "agent", "", "name of an agent, not an address here")
	f.StringSliceVar(&i.hosts, "host", nil, "DNS names and IP addresses of an agent (default its name)")
	f.StringVar(&i.out, "out", ".", "directory for the files")
	f.Var(&i.lifetime, "for", "how long it is valid, such as 90d or 720h; at most as long as the CA")
	var request ca.Request
	cmd.PreRunE = func(*cobra.Command, []string) (err error) {
		request, err = i.request()
		return misuse(err)
	}
	cmd.RunE = s.offline(home, func(ctx context.Context, dir string, _ []string) error {
		out := ca.OutputIn(i.out, request.Name)
		return s.issue(ctx, dir, out, func(signer *ca.Signer, out ca.Output) (*ca.Issued, error) {
			return signer.Issue(request, out)
		})
	})
	return cmd
}

// request checks what was asked for.
func (i *issuing) request() (ca.Request, error) {
	r := ca.Request{Role: i.role, Name: i.name, Lifetime: time.Duration(i.lifetime)}
	switch {
	case i.agent != "" && (i.role != "" || i.name != ""):
		return r, usage("--agent goes without --role and --name: a certificate is for an agent or for a client")
	case i.agent != "":
		return i.agentRequest()
	case i.role == "" || i.name == "":
		return r, usage("say for whom: --role ROLE --name NAME for a client, --agent NAME for an agent")
	case len(i.hosts) > 0:
		return r, usage("--host is for agents: nobody calls a client")
	}
	if err := ca.CheckRole(i.role); err != nil {
		return r, err
	}
	return r, ca.CheckName(i.name)
}

func (i *issuing) agentRequest() (ca.Request, error) {
	r := ca.Request{Role: identity.AgentRole, Name: i.agent, Lifetime: time.Duration(i.lifetime)}
	if err := ca.CheckName(i.agent); err != nil {
		return r, err
	}
	texts := i.hosts
	if len(texts) == 0 {
		texts = []string{i.agent}
	}
	hosts, err := ca.ParseHosts(texts)
	if err != nil && len(i.hosts) == 0 {
		return r, usage("the agent's name is no host's name: say with --host how it is called")
	}
	r.Hosts = hosts
	return r, err
}

func newCertRenew(s *session, home func() (string, error)) *cobra.Command {
	var l lifetime
	cmd := &cobra.Command{
		Use:   "renew FILE",
		Short: "Replace a certificate by one for the same identity",
		Long: "Makes a certificate with the same identity and hosts, a new key and a new serial number,\n" +
			"and puts both in place of the old files. The old certificate stays valid until its end.",
		Example: example("gracectl cert renew alice.pem", "gracectl cert renew web-1.pem --for 30d"),
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().Var(&l, "for", "how long it is valid, such as 90d or 720h (default as long as the old one was)")
	cmd.Flags().Lookup("for").DefValue = ""
	cmd.RunE = s.offline(home, func(ctx context.Context, dir string, args []string) error {
		old, err := ca.ReadCertificate(args[0])
		if err != nil {
			return err
		}
		d := time.Duration(l)
		if d == 0 {
			d = ca.LifetimeOf(old)
		}
		out, err := ca.OutputOver(args[0], old)
		if err != nil {
			return err
		}
		return s.issue(ctx, dir, out, func(signer *ca.Signer, out ca.Output) (*ca.Issued, error) {
			issued, err := signer.Renew(old, d, out)
			return issued, ofFile(args[0], err)
		})
	})
	return cmd
}

// issue asks before it overwrites anything, and has the CA sign.
func (s *session) issue(ctx context.Context, dir string, out ca.Output, sign func(*ca.Signer, ca.Output) (*ca.Issued, error)) error {
	a, err := ca.Open(dir)
	if err != nil {
		return err
	}
	conflicts, err := a.Conflicts(out)
	if err != nil {
		return err
	}
	if len(conflicts) > 0 {
		if err := s.confirm(ctx, "overwrite "+strings.Join(conflicts, ", ")+"?"); err != nil {
			return err
		}
		out.Overwrite = true
	}
	signer, err := ca.Lock(ctx, dir)
	if err != nil {
		return err
	}
	defer signer.Close()
	issued, err := sign(signer, out)
	if err != nil {
		return err
	}
	return s.issued(signer.Authority, issued)
}

// issued reports a new certificate.
func (s *session) issued(a *ca.Authority, i *ca.Issued) error {
	if s.structured() {
		o := append(object{{"uri", i.URI}}, entryObject(i.Entry, time.Now())...)
		o = append(o, member{"certificate", i.Output.Certificate}, member{"key", i.Output.Key})
		if i.Output.CA != "" {
			o = append(o, member{"ca", i.Output.CA})
		}
		return s.print(o)
	}
	s.say("%s: %s %s, valid until %s, serial %s", i.Output.Certificate, i.Role, i.Name, minute(i.NotAfter), i.Serial)
	if i.Limited {
		s.note("it ends with the CA")
	}
	for _, line := range nextStep(a, i) {
		s.note("%s", line)
	}
	return nil
}

// nextStep is what a new certificate is for, ready to be typed.
func nextStep(a *ca.Authority, i *ca.Issued) []string {
	if i.Output.CA == "" {
		return []string{"next: copy " + i.Output.Certificate + " and " + i.Output.Key + " to where they are used"}
	}
	if i.Role == identity.AgentRole {
		return []string{
			"next: copy the three files to " + i.Hosts[0] + ", and there",
			"      graced --listen 0.0.0.0:" + agentPort + tlsFlags(ca.OutputIn("", i.Name)),
		}
	}
	return []string{"next: gracectl --agent " + someAgent(a) + tlsFlags(i.Output) + " status"}
}

func tlsFlags(out ca.Output) string {
	return " --tls-cert " + out.Certificate + " --tls-key " + out.Key + " --tls-ca " + out.CA
}

// someAgent is the address of an agent of this CA, for an example.
func someAgent(a *ca.Authority) string {
	for _, e := range a.Entries() {
		if e.Role == identity.AgentRole && len(e.Hosts) > 0 && e.State(time.Now()) == ca.Valid {
			return net.JoinHostPort(e.Hosts[0], agentPort)
		}
	}
	return "web-1:" + agentPort
}
