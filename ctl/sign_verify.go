package ctl

import (
	"cmp"
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/signer"
	"github.com/gracefleet/gracefleet/internal/statement"
)

func newSignVerify(s *session) *cobra.Command {
	var public, file, service, platform string
	cmd := &cobra.Command{
		Use:   "verify FILE --public-key KEY",
		Short: "Check an artifact's signature, and show what it says",
		Long: "Checks that FILE is the artifact which FILE" + signatureEnding + " is about, that the key has signed that, and\n" +
			"that it has not expired. A host also looks at the service, its own platform and the\n" +
			"release before: --service and --platform do the same here.",
		Example: example(
			"gracectl sign verify ./web-v2 --public-key release.pub",
			"gracectl sign verify ./web-v2 --public-key release.pub --service web --platform linux/amd64"),
		Args: cobra.ExactArgs(1),
	}
	publicKeyFlag(cmd, &public)
	f := cmd.Flags()
	f.StringVar(&file, "signature", "", "signed statement (default FILE"+signatureEnding+")")
	f.StringVar(&service, "service", "", "service that it must be for")
	f.StringVar(&platform, "platform", "", "platform that it must be for")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if public == "" {
			return usage("name the signer's key with --public-key")
		}
		return nil
	}
	cmd.RunE = s.local(func(_ context.Context, args []string) error {
		key, err := signer.ReadPublicKey(public)
		if err != nil {
			return err
		}
		digest, err := digestOf(args[0])
		if err != nil {
			return err
		}
		path := orBeside(file, args[0], signatureEnding)
		text, err := readSignature(path)
		if err != nil {
			return err
		}
		signed, err := statement.ParseSigned(text)
		if err != nil {
			return ofFile(path, err)
		}
		if err := signed.Verify(key); err != nil {
			return ofFile(path, err)
		}
		err = signed.Allows(statement.Use{
			Service: cmp.Or(service, signed.Service), Platform: cmp.Or(platform, signed.Platform), Artifact: digest, At: time.Now(),
		})
		if err != nil {
			return ofFile(path, err)
		}
		return s.stated(path, signed.Statement)
	})
	return cmd
}
