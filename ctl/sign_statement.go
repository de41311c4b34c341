package ctl

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/signer"
	"github.com/gracefleet/gracefleet/internal/statement"
)

const statementEnding = ".statement"

func newSignStatement(s *session) *cobra.Command {
	var d stating
	var public, out string
	cmd := &cobra.Command{
		Use:   "statement FILE --service SERVICE --release N --public-key KEY",
		Short: "Write what is to be signed, for a key that minisign has",
		Long: "Writes FILE" + statementEnding + ", to be signed with minisign where the key is: in hardware, or on\n" +
			"a machine without gracectl. The statement and that signature, one below the other, are\n" +
			"what gracectl sign would have written.",
		Example: example(
			"gracectl sign statement ./web-v2 --service web --release 42 --public-key release.pub",
			"minisign -S -s release.key -m web-v2.statement",
			"cat web-v2.statement web-v2.statement.minisig > web-v2.signature"),
		Args: cobra.ExactArgs(1),
	}
	d.flags(cmd)
	publicKeyFlag(cmd, &public)
	cmd.Flags().StringVar(&out, "out", "", "file to write (default FILE"+statementEnding+")")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if public == "" {
			return usage("name the key that will sign with --public-key")
		}
		return d.check()
	}
	cmd.RunE = s.local(func(ctx context.Context, args []string) error {
		key, err := signer.ReadPublicKey(public)
		if err != nil {
			return err
		}
		stated, err := d.of(args[0])
		if err != nil {
			return err
		}
		stated.Key = statement.FormatKey(key.ID())
		to := orBeside(out, args[0], statementEnding)
		if err := s.mayWrite(ctx, to); err != nil {
			return err
		}
		if err := os.WriteFile(to, stated.Text(), 0o644); err != nil {
			return err
		}
		return s.stated(to, stated, "next: minisign -S -s KEY -m "+to, "      cat "+to+" "+to+".minisig > "+args[0]+signatureEnding)
	})
	return cmd
}

func publicKeyFlag(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVar(into, "public-key", "", "the signer's public key: a .pub file, or the line RW... in it")
}
