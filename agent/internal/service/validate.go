package service

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limits of a specification.
const (
	MaxSpecBytes = 128 << 10 // as JSON
	MaxSockets   = 64
	MaxSteps     = 100
	MaxFiles     = 64
)

const (
	day                 = 24 * time.Hour
	artifactPlaceholder = "{artifact}"
)

var (
	envForm  = lazily(`\A[A-Za-z_][A-Za-z0-9_]*\z`)
	fileForm = lazily(`\A[A-Za-z0-9][A-Za-z0-9._-]{0,99}\z`)
	userForm = lazily(`\A[A-Za-z_][A-Za-z0-9_.-]{0,30}\$?\z`)
)

// Validate lists everything that is wrong with a specification that went
// through WithDefaults, as an *InvalidError. Whether the host can fulfil it
// (user, artifact, addresses in use) is not asked.
func (s Spec) Validate() error {
	c := &checker{}
	c.failed("name", CheckName(s.Name))
	c.failed("artifact", CheckArtifact(s.Artifact))
	c.command(s)
	c.files(s.Files)
	if s.EnvFile != "" {
		c.failed("env_file", checkPath(s.EnvFile))
	}
	c.env("env", s.Env)
	c.failed("user", checkUser(s.User))
	if s.WorkingDirectory != "" && s.WorkingDirectory != "/" {
		c.failed("working_directory", checkPath(s.WorkingDirectory))
	}
	c.handover(s)
	c.sockets(s.Sockets)
	c.readiness(s)
	c.upgrade(s)
	c.drain(s)
	c.restart(s.Restart)
	c.number("keep_generations", s.KeepGenerations, 0, 100)
	c.size(s)
	return c.err()
}

// checker collects violations.
type checker struct{ violations []Violation }

func (c *checker) err() error {
	if len(c.violations) == 0 {
		return nil
	}
	return &InvalidError{Violations: c.violations}
}

func (c *checker) add(field, format string, args ...any) {
	c.violations = append(c.violations, Violation{Field: field, Reason: fmt.Sprintf(format, args...)})
}

func (c *checker) that(ok bool, field, format string, args ...any) {
	if !ok {
		c.add(field, format, args...)
	}
}

func (c *checker) failed(field string, err error) {
	if err != nil {
		c.add(field, "%v", err)
	}
}

func (c *checker) number(field string, n, low, high int) {
	c.that(n >= low && n <= high, field, "%d is not from %d to %d", n, low, high)
}

func (c *checker) duration(field string, d, low, high time.Duration) {
	c.that(d >= low && d <= high, field, "%s is not from %s to %s", formatDuration(d), formatDuration(low), formatDuration(high))
}

func (c *checker) size(s Spec) {
	// A Spec holds nothing that JSON cannot express.
	data, err := json.Marshal(s)
	c.failed("spec", err)
	c.that(len(data) <= MaxSpecBytes, "spec", "%d bytes in all: at most %d", len(data), MaxSpecBytes)
}

func (c *checker) files(files map[string]string) {
	c.that(len(files) <= MaxFiles, "files", "%d files: at most %d", len(files), MaxFiles)
	for _, name := range sortedKeys(files) {
		if !fileForm().MatchString(name) {
			c.add(fmt.Sprintf("files[%.80q]", name), "a name consists of letters, digits and . _ -, at most 100 of them, and is no path")
			continue
		}
		c.failed("files."+name, CheckDigest(files[name]))
	}
}

func (c *checker) env(key string, env map[string]string) {
	for _, name := range sortedKeys(env) {
		field := key + "." + name
		switch {
		case !envForm().MatchString(name):
			c.add(fmt.Sprintf("%s[%.80q]", key, name), "a name consists of letters, digits and _, and does not begin with a digit")
		case reservedEnv(name):
			c.add(field, "is set by the agent itself")
		}
	}
}

func reservedEnv(name string) bool {
	return name == "NOTIFY_SOCKET" || strings.HasPrefix(name, "GRACEFLEET_") ||
		strings.HasPrefix(name, "LISTEN_FD") || strings.HasPrefix(name, "LISTEN_PID") || strings.HasPrefix(name, "WATCHDOG_")
}

func checkUser(user string) error {
	if user == "" || userForm().MatchString(user) {
		return nil
	}
	// (uid_t)-1 means "leave unchanged" to setresuid(2).
	if id, err := strconv.ParseUint(user, 10, 32); err == nil && id < 1<<32-1 && strconv.FormatUint(id, 10) == user {
		return nil
	}
	return fmt.Errorf("%.80q is neither a user's name nor a number", user)
}

func (c *checker) restart(r Restart) {
	switch r.Policy {
	case RestartAlways, RestartOnFailure, RestartNever:
	default:
		c.add("restart.policy", "%.80q is not known: want always, on_failure or never", r.Policy)
	}
	c.duration("restart.backoff", r.Backoff, time.Millisecond, time.Hour)
	c.duration("restart.max_backoff", r.MaxBackoff, time.Millisecond, day)
	c.that(r.MaxBackoff >= r.Backoff, "restart.max_backoff", "%s is less than the backoff, %s", formatDuration(r.MaxBackoff), formatDuration(r.Backoff))
	c.duration("restart.hold", r.Hold, 0, time.Hour)
}
