package rollout

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	maxChecks   = 10
	maxArgument = 4096 // bytes of a command, a URL, a query
	minInterval = 100 * time.Millisecond
	maxFailures = 1000
)

// Check is a question that the driver asks about each host while it soaks, beside
// what the agent asks itself. One of Command, HTTP and Prometheus is set. In each
// text {host} stands for the host's name and {address} for its address without a port.
type Check struct {
	// Command is a program with its arguments, run where the driver runs, with
	// GRACEFLEET_HOST, GRACEFLEET_ADDRESS, GRACEFLEET_SERVICE and GRACEFLEET_ROLLOUT
	// in its environment. It passes with exit status 0.
	Command []string `json:"command,omitempty"`
	// HTTP is a URL that answers GET with 2xx.
	HTTP string `json:"http,omitempty"`
	// Prometheus is the URL of a server, and Query what it is asked: the check passes
	// when the answer is a vector that is not empty, as of a comparison that holds, or a
	// scalar other than 0.
	Prometheus string `json:"prometheus,omitempty"`
	Query      string `json:"query,omitempty"`
	// Interval is the time between two attempts, and the limit of each.
	Interval time.Duration `json:"interval_ns"`
	// Failures in a row turn the new generation away.
	Failures int `json:"failures"`
	// For is how long to ask at least: the host may be promoted when the last answer
	// after that is good; 0 means the first that is.
	For time.Duration `json:"for_ns,omitempty"`
}

// String is what the check asks, for people.
func (c Check) String() string {
	switch {
	case len(c.Command) > 0:
		return "command " + strings.Join(c.Command, " ")
	case c.HTTP != "":
		return "GET " + c.HTTP
	}
	return "query " + c.Query
}

func (c Check) validate() error {
	kinds := 0
	for _, set := range []bool{len(c.Command) > 0, c.HTTP != "", c.Prometheus != ""} {
		if set {
			kinds++
		}
	}
	texts := append(slices.Clone(c.Command), c.HTTP, c.Prometheus, c.Query)
	switch {
	case kinds != 1:
		return errors.New("a check asks one thing: want a command, a URL, or a Prometheus query")
	case (c.Prometheus == "") != (c.Query == ""):
		return errors.New("a check of Prometheus needs the server's URL and a query")
	case len(c.Command) > 0 && c.Command[0] == "":
		return errors.New("a check's command has no program")
	case len(strings.Join(texts, " ")) > maxArgument:
		return fmt.Errorf("a check is longer than %d bytes", maxArgument)
	case slices.ContainsFunc(texts, func(text string) bool { return !printable(text) }):
		return fmt.Errorf("check %s has what cannot be printed", quote(c.String()))
	case c.Interval < minInterval || c.Interval > maxWait:
		return fmt.Errorf("check %s: an interval of %v: want %v to %v", quote(c.String()), c.Interval, minInterval, maxWait)
	case c.Failures < 1 || c.Failures > maxFailures:
		return fmt.Errorf("check %s: %d failures: want 1 to %d", quote(c.String()), c.Failures, maxFailures)
	case c.For < 0 || c.For > maxWait:
		return fmt.Errorf("check %s: for %v: want at most %v", quote(c.String()), c.For, maxWait)
	}
	return checkURL(c.HTTP + c.Prometheus)
}

// checkURL refuses passwords too: hosts store a check, and it is shown.
func checkURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(strings.NewReplacer("{host}", "host", "{address}", "host").Replace(text))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%s is not a URL that can be asked: want http:// or https:// and a host", quote(text))
	}
	if u.User != nil {
		return fmt.Errorf("the URL of a check at %s has a user or password in it: every host would store it", quote(u.Host))
	}
	return nil
}
