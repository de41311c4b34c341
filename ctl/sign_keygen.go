package ctl

import (
	"context"

	"aead.dev/minisign"
	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/signer"
	"github.com/gracefleet/gracefleet/internal/statement"
)

// secretKey is the key of whoever signs.
type secretKey struct {
	file string
	password
}

func (k *secretKey) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.file, "key", "", "secret key, of gracectl sign keygen or minisign -G (env GRACECTL_SIGNING_KEY)")
	k.password.flags(cmd)
}

// complete takes from the environment what no flag says.
func (k *secretKey) complete(s *session) error {
	if k.file == "" {
		k.file = s.stdio.Getenv("GRACECTL_SIGNING_KEY")
	}
	if k.file == "" {
		return usage("name the secret key with --key; gracectl sign keygen makes one")
	}
	k.password.complete(s)
	return nil
}

func (k *secretKey) read(ctx context.Context, s *session) (minisign.PrivateKey, error) {
	return signer.ReadKey(k.file, func() (string, error) { return k.ask(ctx, s, "password of "+k.file) })
}

func newSignKeygen(s *session) *cobra.Command {
	var p password
	cmd := &cobra.Command{
		Use:   "keygen NAME",
		Short: "Make a key to sign artifacts with",
		Long: "Writes NAME.key, encrypted with a password, and NAME.pub, which goes into graced.yaml of the\n" +
			"hosts. Both are minisign's, whose own work as well.",
		Example: example("gracectl sign keygen release", "gracectl sign keygen release --password-file /run/secrets/release"),
		Args:    cobra.ExactArgs(1),
	}
	p.flags(cmd)
	cmd.RunE = s.local(func(ctx context.Context, args []string) error {
		p.complete(s)
		chosen, err := p.choose(ctx, s)
		if err != nil {
			return err
		}
		public, err := signer.Generate(args[0], chosen)
		if err != nil {
			return err
		}
		return s.generated(args[0], public)
	})
	return cmd
}

// generated reports a new key.
func (s *session) generated(name string, public minisign.PublicKey) error {
	id := statement.FormatKey(public.ID())
	if s.structured() {
		return s.print(object{
			{"key", id},
			{"secretKey", name + signer.KeyEnding},
			{"publicKeyFile", name + signer.PublicEnding},
			{"publicKey", public.String()},
		})
	}
	s.say("%s%s: key %s", name, signer.KeyEnding, id)
	s.note("keep %s%s to yourself, and a backup of it", name, signer.KeyEnding)
	s.note("next, in /etc/gracefleet/graced.yaml of the hosts:")
	s.note("      require_signature: [web]")
	s.note("      signing_keys:")
	s.note("        - key: %s", public)
	return nil
}
