package demo

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// versions of the sample: copies of this program with a trailer. An ELF file
// runs unchanged with bytes after its end.
var versions = []string{"v1", "v2", "v3 bad", "v4"}

// makeVersions puts every version into a directory.
func makeVersions(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, v := range versions {
		if err := copyWithTrailer(self, program(dir, v), v); err != nil {
			return fmt.Errorf("make the sample service: %w", err)
		}
	}
	return nil
}

func program(dir, version string) string {
	name, _, _ := strings.Cut(version, " ")
	return filepath.Join(dir, "sample-"+name)
}

func copyWithTrailer(from, to, version string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		_, err = out.Write(trailer(version))
	}
	return errors.Join(err, out.Close())
}
