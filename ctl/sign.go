package ctl

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/signer"
	"github.com/gracefleet/gracefleet/internal/statement"
)

// stating is what a release is said to be.
type stating struct {
	service, platform string
	release           int64
	expires           lifetime
}

const defaultExpiry = lifetime(30 * 24 * time.Hour)

func (d *stating) flags(cmd *cobra.Command) {
	d.expires = defaultExpiry
	f := cmd.Flags()
	f.StringVar(&d.service, "service", "", "service that the artifact is for")
	f.Int64Var(&d.release, "release", 0, "release number, higher than those before, such as a build's")
	f.Var(&d.expires, "expires", "how long the signature can be used for an upgrade, such as 30d or 12h")
	f.StringVar(&d.platform, "platform", "", "what it runs on, such as linux/amd64 (default as the executable says)")
}

// check asks for what has no default.
func (d *stating) check() error {
	switch {
	case d.service == "":
		return usage("name the service with --service")
	case d.release == 0:
		return usage("number the release with --release: a host takes none that is lower than one before")
	}
	return nil
}

// of is the statement about an artifact, without its signer.
func (d *stating) of(path string) (statement.Statement, error) {
	digest, err := digestOf(path)
	if err != nil {
		return statement.Statement{}, err
	}
	platform := d.platform
	if platform == "" {
		if platform, err = signer.PlatformOf(path); err != nil {
			return statement.Statement{}, err
		}
	}
	stated := statement.Statement{
		Service: d.service, Platform: platform, Artifact: digest, Release: d.release,
		Expires: time.Now().Add(time.Duration(d.expires)).UTC().Truncate(time.Second),
	}
	return stated, misuse(stated.Check())
}

func digestOf(path string) (string, error) {
	up, err := openUpload(path)
	if err != nil {
		return "", err
	}
	defer up.close()
	return up.header.GetDigest(), nil
}

func newSign(s *session) *cobra.Command {
	var d stating
	var k secretKey
	var out string
	cmd := &cobra.Command{
		Use:   "sign FILE --service SERVICE --release N --key FILE",
		Short: "Sign an artifact, for hosts that run signed ones alone",
		Long: "Writes FILE" + signatureEnding + ": a statement which service the artifact is for, on what it runs, its\n" +
			"digest, release number and end, signed with a minisign key. upgrade and apply send it along\n" +
			"by themselves. No agent is asked. deploy/signatures.md has the whole story.",
		Example: example(
			"gracectl sign keygen release",
			"gracectl sign ./web-v2 --service web --release 42 --key release.key",
			"gracectl sign ./web-v2 --service web --release 42 --key release.key --password-file /run/password"),
		Args: cobra.ExactArgs(1),
	}
	d.flags(cmd)
	k.flags(cmd)
	cmd.Flags().StringVar(&out, "out", "", "file to write (default FILE"+signatureEnding+")")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if err := k.complete(s); err != nil {
			return err
		}
		return d.check()
	}
	cmd.RunE = s.local(func(ctx context.Context, args []string) error {
		stated, err := d.of(args[0])
		if err != nil {
			return err
		}
		to := orBeside(out, args[0], signatureEnding)
		if err := s.mayWrite(ctx, to); err != nil {
			return err
		}
		key, err := k.read(ctx, s)
		if err != nil {
			return err
		}
		signed, err := statement.Sign(stated, key)
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, signed.File(), 0o644); err != nil {
			return err
		}
		return s.stated(to, signed.Statement, "next: gracectl upgrade "+stated.Service+" "+args[0])
	})
	cmd.AddCommand(newSignKeygen(s), newSignStatement(s), newSignVerify(s))
	return cmd
}

func orBeside(path, artifact, ending string) string {
	if path != "" {
		return path
	}
	return artifact + ending
}

// mayWrite asks before something is written over.
func (s *session) mayWrite(ctx context.Context, path string) error {
	if _, err := os.Lstat(path); err != nil {
		return nil // whether it can be made shows then
	}
	return s.confirm(ctx, "overwrite "+path+"?")
}

// stated reports a statement, and what to do with it.
func (s *session) stated(file string, said statement.Statement, next ...string) error {
	if s.structured() {
		return s.print(object{
			{"file", file},
			{"service", said.Service},
			{"platform", said.Platform},
			{"artifact", said.Artifact},
			{"release", said.Release},
			{"expires", timestamp(said.Expires)},
			{"key", said.Key},
		})
	}
	s.say("%s: %s release %d for %s, sha256:%s, until %s, key %s",
		file, said.Service, said.Release, said.Platform, short(said.Artifact), minute(said.Expires), said.Key)
	for _, line := range next {
		s.note("%s", line)
	}
	return nil
}
