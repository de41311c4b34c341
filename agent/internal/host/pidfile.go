package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// PIDFile is where a service's main process is named, for monit, logrotate and
// scripts that know nothing of generations.
func (h *Host) PIDFile(service string) string {
	return filepath.Join(h.runtimeDir, service+".pid")
}

// SetPID has the pid file name a process from one instant to the next; 0 removes
// the file.
func (h *Host) SetPID(service string, pid int) error {
	path := h.PIDFile(service)
	if pid == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the pid file: %w", err)
		}
		return nil
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(strconv.Itoa(pid)+"\n"), 0o644); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	// The agent's umask is not what others need to read it.
	if err := errors.Join(os.Chmod(tmp, 0o644), os.Rename(tmp, path)); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	return nil
}
