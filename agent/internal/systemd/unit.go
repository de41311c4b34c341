package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
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
	// Triggers are the units that start it again: its sockets, timers and paths.
	Triggers []string
}

// ErrNotRunning is Find's answer for a unit that has no main process.
var ErrNotRunning = errors.New("it is not running")

// nameForm is what systemd allows in the name of a service (systemd.unit(5)), and
// no option.
var nameForm = regexp.MustCompile(`\A[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,254}\z`)

// Find asks for a running service. A name without a suffix is one of a service.
func Find(ctx context.Context, name string) (Unit, error) {
	if !nameForm.MatchString(name) {
		return Unit{}, fmt.Errorf("%q is not the name of a unit", name)
	}
	out, err := systemctl(ctx, "show", "-p", "Id,LoadState,ActiveState,MainPID,TriggeredBy", "--", name)
	if err != nil {
		return Unit{}, err
	}
	return parse(name, out)
}

// parse reads KEY=VALUE lines.
func parse(name, show string) (Unit, error) {
	is := map[string]string{}
	for line := range strings.Lines(show) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			is[key] = value
		}
	}
	u := Unit{Name: is["Id"], Triggers: strings.Fields(is["TriggeredBy"])}
	u.PID, _ = strconv.Atoi(is["MainPID"])
	switch {
	case is["LoadState"] == "not-found":
		return Unit{}, fmt.Errorf("there is no unit %s", name)
	case !strings.HasSuffix(u.Name, ".service"):
		return Unit{}, fmt.Errorf("%s is not a service", u.Name)
	case u.PID == 0 || is["ActiveState"] != "active":
		return Unit{}, fmt.Errorf("%s: %w (it is %s)", u.Name, ErrNotRunning, is["ActiveState"])
	}
	return u, nil
}

// Retire disables a unit with what triggers it and has all of them stopped, now
// and at the next boot. It returns once systemd has begun to. A unit that cannot be
// disabled, since nothing enabled it, is stopped all the same; the error says so.
func Retire(ctx context.Context, u Unit) error {
	names := append(append([]string{"--"}, u.Triggers...), u.Name)
	_, disabled := systemctl(ctx, append([]string{"disable"}, names...)...)
	_, stopped := systemctl(ctx, append([]string{"stop", "--no-block"}, names...)...)
	return errors.Join(disabled, stopped)
}

func systemctl(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out, words bytes.Buffer
	c := exec.CommandContext(ctx, "systemctl", append([]string{"--system", "--no-pager", "--no-ask-password"}, args...)...)
	c.Stdout, c.Stderr = &out, &words
	if err := c.Run(); err != nil {
		if said := strings.TrimSpace(words.String()); said != "" {
			err = fmt.Errorf("%s", said)
		}
		return "", fmt.Errorf("systemctl %s: %w", args[0], err)
	}
	return out.String(), nil
}
