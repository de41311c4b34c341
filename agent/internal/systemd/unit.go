package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// limit bounds one call: all of them only ask, or queue a job.
const limit = 10 * time.Second

// Unit is a service of the system's manager.
type Unit struct {
	Name string // with its suffix
	PID  int    // of its main process
	// State is ActiveState and SubState, such as "active running".
	State string
	// Triggers are the units that start it again: its sockets, timers and paths.
	Triggers []string
	// Dependents are stopped with it.
	Dependents []string
	// Enabled are those of it and its Triggers that start at boot.
	Enabled []string
}

// ErrNotRunning is Find's answer for a unit that has no main process; the unit is
// filled in.
var ErrNotRunning = errors.New("it is not running")

// nameForm is what systemd allows in the name of a service (systemd.unit(5)), and
// no option.
var nameForm = regexp.MustCompile(`\A[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,254}\z`)

const properties = "Id,LoadState,ActiveState,SubState,MainPID,TriggeredBy,RequiredBy,BoundBy,ConsistsOf,UnitFileState"

// Find asks for a running service. A name without a suffix is one of a service.
func Find(ctx context.Context, name string) (Unit, error) {
	if !nameForm.MatchString(name) {
		return Unit{}, fmt.Errorf("%q is not the name of a unit", name)
	}
	out, err := systemctl(ctx, "show", "-p", properties, "--", name)
	if err != nil {
		return Unit{}, err
	}
	u, err := parse(name, out)
	if err != nil {
		return u, err
	}
	for _, trigger := range u.Triggers {
		state, err := systemctl(ctx, "show", "-p", "UnitFileState", "--value", "--", trigger)
		if err != nil {
			return u, err
		}
		if strings.TrimSpace(state) == "enabled" {
			u.Enabled = append(u.Enabled, trigger)
		}
	}
	return u, nil
}

// parse reads KEY=VALUE lines.
func parse(name, show string) (Unit, error) {
	is := map[string]string{}
	for line := range strings.Lines(show) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			is[key] = value
		}
	}
	u := Unit{Name: is["Id"], State: is["ActiveState"] + " " + is["SubState"], Triggers: strings.Fields(is["TriggeredBy"])}
	u.PID, _ = strconv.Atoi(is["MainPID"])
	for _, dependent := range strings.Fields(is["RequiredBy"] + " " + is["BoundBy"] + " " + is["ConsistsOf"]) {
		if !strings.HasSuffix(dependent, ".target") && !slices.Contains(u.Triggers, dependent) {
			u.Dependents = append(u.Dependents, dependent)
		}
	}
	if is["UnitFileState"] == "enabled" {
		u.Enabled = []string{u.Name}
	}
	switch {
	case is["LoadState"] == "not-found":
		return Unit{}, fmt.Errorf("there is no unit %s", name)
	case !strings.HasSuffix(u.Name, ".service"):
		return Unit{}, fmt.Errorf("%s is not a service", u.Name)
	case u.PID == 0 || (is["ActiveState"] != "active" && is["ActiveState"] != "reloading"):
		return u, fmt.Errorf("%s: %w (it is %s)", u.Name, ErrNotRunning, is["ActiveState"])
	}
	return u, nil
}

// Disable has units no longer start at boot. What nothing enables is left as it is.
func Disable(ctx context.Context, units ...string) error { return change(ctx, "disable", units) }

// Enable has units start at boot.
func Enable(ctx context.Context, units ...string) error { return change(ctx, "enable", units) }

// Stop has units stopped. It returns once systemd has begun to.
func Stop(ctx context.Context, units ...string) error {
	return change(ctx, "stop", append([]string{"--no-block"}, units...))
}

func change(ctx context.Context, verb string, units []string) error {
	if len(units) == 0 {
		return nil
	}
	_, err := systemctl(ctx, append([]string{verb}, units...)...)
	return err
}

func systemctl(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out, words bytes.Buffer
	c := exec.CommandContext(ctx, "systemctl", append([]string{"--system", "--no-pager", "--no-ask-password"}, args...)...)
	c.Stdout, c.Stderr = &out, &words
	if err := c.Run(); err != nil {
		if said := strings.TrimSpace(words.String()); said != "" {
			err = errors.New(said)
		}
		return "", fmt.Errorf("systemctl %s: %w", args[0], err)
	}
	return out.String(), nil
}
