package ctl

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/authority"
	"github.com/gracefleet/gracefleet/ctl/internal/ca"
)

// defaultTokenLifetime is time enough to get to the host.
const defaultTokenLifetime = time.Hour

// inviting is what cert token was asked for.
type inviting struct {
	issuing
	at    []string
	valid lifetime
}

func newCertToken(s *session, home func() (string, error)) *cobra.Command {
	i := inviting{issuing: issuing{lifetime: lifetime(ca.DefaultLifetime)}, valid: lifetime(defaultTokenLifetime)}
	cmd := &cobra.Command{
		Use:   "token --agent NAME [--host HOST,...] --at HOST:PORT",
		Short: "Print a one-time token with which a host joins",
		Long: "Prints a token for gracectl host join, on that host. It counts once, and says where the\n" +
			"CA answers (gracectl cert serve) and how to know it. Whoever has it first can be that\n" +
			"agent: keep it as a password. The CA keeps no more than a hash of it. Another token\n" +
			"for the same agent takes its place.",
		Example: example("gracectl cert token --agent web-1 --host web-1.example.org --at ca.example.org:7444",
			"gracectl cert token --agent web-1 --at ca:7444 --for 10m | ssh root@web-1 gracectl host join -"),
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&i.agent, "agent", "", "name of the agent")
	f.StringSliceVar(&i.hosts, "host", nil, "DNS names and IP addresses by which it is called (default its name)")
	f.StringSliceVar(&i.at, "at", nil, "HOST:PORT by which the host reaches gracectl cert serve; several are tried in turn")
	f.Var(&i.valid, "for", "how long the token counts, at most 7d")
	f.Var(&i.lifetime, "lifetime", "how long the certificate is valid, such as 90d or 720h")
	var request ca.Request
	cmd.PreRunE = func(*cobra.Command, []string) (err error) {
		request, err = i.check()
		return misuse(err)
	}
	cmd.RunE = s.offline(home, func(ctx context.Context, dir string, _ []string) error {
		return s.invite(ctx, dir, request, i)
	})
	return cmd
}

func (i *inviting) check() (ca.Request, error) {
	switch {
	case i.agent == "":
		return ca.Request{}, usage("say for whom: --agent NAME")
	case len(i.at) == 0:
		return ca.Request{}, usage("say with --at where the host reaches gracectl cert serve, such as ca.example.org:%s", caPort)
	case time.Duration(i.valid) > ca.MaxTokenLifetime:
		return ca.Request{}, usage("--for: a token counts for at most %s", ca.FormatLifetime(ca.MaxTokenLifetime))
	}
	for _, address := range i.at {
		if err := authority.CheckAddress(address); err != nil {
			return ca.Request{}, err
		}
	}
	return i.agentRequest()
}

func (s *session) invite(ctx context.Context, dir string, r ca.Request, i inviting) error {
	signer, err := ca.Lock(ctx, dir)
	if err != nil {
		return err
	}
	defer signer.Close()
	secret, kept, err := signer.Token(r, time.Duration(i.valid))
	if err != nil {
		return err
	}
	t := authority.Token{Addresses: i.at, Pin: signer.KeyPin(), Secret: [ca.SecretSize]byte(secret)}
	if s.structured() {
		return s.print(object{
			{"token", t.String()},
			{"agent", kept.Agent},
			{"hosts", kept.Hosts},
			{"addresses", i.at},
			{"expires", timestamp(kept.Expires)},
		})
	}
	s.say("%s", t)
	s.note("it counts once, until %s, and makes its host the agent %s", minute(kept.Expires), kept.Agent)
	s.note("next, on that host: gracectl host join TOKEN")
	return nil
}
