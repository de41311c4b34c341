package ctl

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/spec"
	"github.com/gracefleet/gracefleet/internal/statement"
)

// signatureEnding is that of the file which gracectl sign writes beside an artifact.
const signatureEnding = ".signature"

// signing is what goes with an artifact to a host that wants it signed.
type signing struct {
	file       string
	breakGlass bool
}

func (g *signing) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&g.file, "signature", "", "signed statement of the artifact (default ARTIFACT"+signatureEnding+", if it is there)")
	f.BoolVar(&g.breakGlass, "break-glass", false, "take a release that is older than one before; needs the permission admin, and -m")
}

// bring reads the signature of an artifact: the file that was named, or the one that
// lies beside a local artifact. Whether it counts, the agent says.
func (g *signing) bring(a spec.Artifact, reason string) (signature []byte, breakGlass bool, err error) {
	if g.breakGlass && reason == "" {
		return nil, false, usage("--break-glass goes with a reason: say with -m why an old release is wanted")
	}
	path := g.file
	if path == "" {
		if a.Path == "" {
			return nil, g.breakGlass, nil
		}
		path = a.Path + signatureEnding
	}
	signature, err = readSignature(path)
	if g.file == "" && errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return signature, g.breakGlass, err
}

// readSignature reads a file of which nobody knows yet what is in it.
func readSignature(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	defer f.Close()
	file, err := io.ReadAll(io.LimitReader(f, statement.MaxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("signature: %w", err)
	case len(file) > statement.MaxFile:
		return nil, fmt.Errorf("signature %s: more than %d bytes: gracectl sign writes smaller ones", path, statement.MaxFile)
	}
	return file, nil
}
