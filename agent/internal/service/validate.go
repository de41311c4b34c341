package service

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gracefleet/gracefleet/internal/handover"
)

// Limits of a specification.
const (
	MaxSpecBytes = 128 << 10 // as JSON
	MaxSockets   = 64
	MaxSteps     = 100
	MaxFiles     = 64
	// As systemd.exec(5) has them for LoadCredential=.
	MaxCredentials     = 64
	MaxCredentialBytes = 1 << 20 // of all credentials of a service together
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
	c.credentials(s)
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
		if c.fileName("files", name) {
			c.failed("files."+name, CheckDigest(files[name]))
		}
	}
}

func (c *checker) credentials(s Spec) {
	c.that(len(s.Credentials) <= MaxCredentials, "credentials", "%d credentials: at most %d", len(s.Credentials), MaxCredentials)
	for _, name := range sortedKeys(s.Credentials) {
		if c.fileName("credentials", name) {
			c.failed("credentials."+name, checkPath(s.Credentials[name]))
		}
	}
	_, taken := s.Env[handover.CredentialsEnv]
	c.that(!taken || len(s.Credentials) == 0, "env."+handover.CredentialsEnv, "is set by the agent itself")
}

// fileName says whether a name is fit for a file of the generation.
func (c *checker) fileName(key, name string) bool {
	ok := fileForm().MatchString(name)
	c.that(ok, fmt.Sprintf("%s[%.80q]", key, name), "a name consists of letters, digits and . _ -, at most 100 of them, and is no path")
	return ok
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
