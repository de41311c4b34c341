package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Publish makes the public path of a unix socket lead to the private one, in one
// step: clients connect to the old socket or to the new one, never to none. The
// private path stays, so that the way back remains; owner and mode are those of
// the private path. Both must be on one filesystem.
func Publish(private, public string) error {
	if err := publishable(private, public); err != nil {
		return fmt.Errorf("publish %s: %w", public, err)
	}
	tmp := private + ".public"
	// One may be left by an agent that died here; the directory is ours.
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("publish %s: %w", public, err)
	}
	if err := os.Link(private, tmp); err != nil {
		return fmt.Errorf("publish %s: %w (both paths must be on one filesystem)", public, err)
	}
	if err := os.Rename(tmp, public); err != nil {
		return errors.Join(fmt.Errorf("publish %s: %w", public, err), os.Remove(tmp))
	}
	// Renaming one name of a file to another of its names does nothing: tmp stays.
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("publish %s: %w", public, err)
	}
	return nil
}

// Published says whether the public path leads to the private socket.
func Published(private, public string) bool {
	a, err := os.Lstat(private)
	if err != nil {
		return false
	}
	b, err := os.Lstat(public)
	return err == nil && os.SameFile(a, b)
}

func publishable(private, public string) error {
	st, err := os.Lstat(private)
	if err != nil {
		return fmt.Errorf("the slot's own socket: %w", err)
	}
	if st.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is not a socket", private)
	}
	dir := filepath.Dir(public)
	st, err = os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("directory %s does not exist: create it, or choose another path", dir)
	case err != nil:
		return err
	case !st.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	}
	st, err = os.Lstat(public)
	if err == nil && st.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket: remove it, or choose another path", public)
	}
	return nil
}
