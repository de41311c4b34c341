package ctl

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gracefleet/gracefleet/ctl/internal/signer"
)

// password of a secret key: in a file, or typed. No flag takes it itself, for
// everybody on the machine reads those.
type password struct{ file string }

func (p *password) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.file, "password-file", "", "file with the key's password on its first line (env GRACECTL_PASSWORD_FILE; default asks)")
}

// complete takes from the environment what no flag says.
func (p *password) complete(s *session) {
	if p.file == "" {
		p.file = s.stdio.Getenv("GRACECTL_PASSWORD_FILE")
	}
}

func (p *password) ask(ctx context.Context, s *session, prompt string) (string, error) {
	text, err := p.get(ctx, s, prompt)
	if err == nil {
		s.note(slow)
	}
	return text, err
}

// slow is said before scrypt begins, which nobody sees.
const slow = "one moment: that a password takes seconds to try is what protects the key"

func (p *password) get(ctx context.Context, s *session, prompt string) (string, error) {
	if p.file != "" {
		return signer.ReadPassword(p.file)
	}
	return s.askUnseen(ctx, prompt)
}

// choose is ask for a new password, which is typed twice.
func (p *password) choose(ctx context.Context, s *session) (string, error) {
	first, err := p.get(ctx, s, "password for the new key")
	if err != nil {
		return "", err
	}
	again := first
	if p.file == "" {
		again, err = s.askUnseen(ctx, "the same again")
	}
	switch {
	case err != nil:
		return "", err
	case again != first:
		return "", errors.New("the two passwords differ: nothing was done")
	case first == "":
		return "", errors.New("the password is empty: nothing was done")
	}
	s.note(slow)
	return first, nil
}

// askUnseen reads a line from the terminal, which does not show it.
func (s *session) askUnseen(ctx context.Context, prompt string) (string, error) {
	f, ok := terminal(s.stdio.In)
	if !ok {
		return "", usage("there is no terminal to ask for the %s on: give it in a file with --password-file", prompt)
	}
	fd := int(f.Fd())
	shown, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("terminal: %w", err)
	}
	fmt.Fprintf(s.stdio.Err, "%s: ", prompt)
	defer fmt.Fprintln(s.stdio.Err)
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	// A read from a terminal cannot be ended: after Ctrl-C it ends with the program.
	go func() {
		text, err := term.ReadPassword(fd)
		typed <- line{text, err}
	}()
	select {
	case l := <-typed:
		return string(l.text), l.err
	case <-ctx.Done():
		_ = term.Restore(fd, shown)
		return "", errors.New("nothing was done")
	}
}
