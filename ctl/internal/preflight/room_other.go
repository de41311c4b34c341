//go:build !linux

package preflight

import (
	"errors"
	"os/exec"
)

var errLinux = errors.New("preflight runs an agent, and agents run on Linux")

// Enter has a command run in a room of its own.
func Enter(*exec.Cmd) error { return errLinux }

// Furnish makes the room that this process was started in fit for a trial.
func Furnish(string, string, []string) ([]string, error) { return nil, errLinux }
