package ctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

// rolloutFlags are what a command over many hosts is told about their order, and about
// what stops it.
type rolloutFlags struct {
	set                                      *pflag.FlagSet // these alone
	canary, waves, spread, pause             string
	inFlight                                 string
	failures, waveFailures, unreachable      string
	onFailure, onOrphan                      string
	fetchTimeout                             time.Duration
	checkCommand, checkHTTP, checkPrometheus []string
	checkInterval, checkFor                  time.Duration
	checkFailures                            int
	notify                                   []string
	seeds                                    int
}

func (r *rolloutFlags) flags(cmd *cobra.Command) {
	f := pflag.NewFlagSet("rollout", pflag.ContinueOnError)
	f.SortFlags = false
	f.StringVar(&r.canary, "canary", "", "hosts that go first: a number, a share such as 10%, or a selector")
	f.StringVar(&r.waves, "waves", "", "hosts reached after each wave: 10%,50%,100%, 1,5,20, or exp:2 (default all in one)")
	f.StringVar(&r.inFlight, "max-in-flight", "", "hosts at once (default the whole wave)")
	f.StringVar(&r.failures, "max-failures", "", "failed hosts that are tolerated, N or P% (default 0)")
	f.StringVar(&r.waveFailures, "max-wave-failures", "", "the same within one wave (default 100%)")
	f.StringVar(&r.unreachable, "max-unreachable", "", "unreachable hosts that are tolerated, N or P% (default 10%)")
	f.StringVar(&r.pause, "pause", "", "time between waves, such as 30s, or manual: until gracectl rollout promote")
	f.StringVar(&r.spread, "spread", "", "label, such as zone: never hosts of two of its values at the same time")
	f.StringVar(&r.onFailure, "on-failure", "", "rollback: touched hosts return to what they ran (default); hold: somebody decides")
	f.StringVar(&r.onOrphan, "on-orphan", "", "hosts in flight when nobody drives any more: hold (default), rollback, finish")
	f.DurationVar(&r.fetchTimeout, "fetch-timeout", 0, "limit for a host to get what it lacks (default 15m)")
	f.IntVar(&r.seeds, "seeds", 0, "hosts that get the artifact from here; the others fetch it from them, see fetch.seeds of graced.yaml (default all)")
	f.StringArrayVar(&r.checkCommand, "check-command", nil, "command run here for each host that soaks, {host} and {address} filled in; exit status 0 passes")
	f.StringArrayVar(&r.checkHTTP, "check-http", nil, "URL asked for each host that soaks; 2xx passes")
	f.StringArrayVar(&r.checkPrometheus, "check-promql", nil, "SERVER-URL QUERY for each host that soaks; a result without 0 passes")
	f.DurationVar(&r.checkInterval, "check-interval", 5*time.Second, "time between two of these checks, and the limit of each")
	f.DurationVar(&r.checkFor, "check-for", 0, "how long they must have passed before a host is promoted (default once)")
	f.IntVar(&r.checkFailures, "check-failures", 2, "failures in a row that turn the new generation of a host away")
	f.StringArrayVar(&r.notify, "notify", nil, "URL that is told of begin, wave end, hold and end (see gracectl explain rollouts); may be repeated")
	r.set = f
	cmd.Flags().AddFlagSet(f)
}

// given names the first flag that was said; "" when none was.
func (r *rolloutFlags) given() (name string) {
	r.set.VisitAll(func(f *pflag.Flag) {
		if f.Changed && name == "" {
			name = f.Name
		}
	})
	return name
}

// asked says whether a command is a rollout: several hosts are meant, or the order in
// which they are reached matters.
func (s *session) asked(ctx context.Context, r *rolloutFlags) (bool, error) {
	many, err := s.several(ctx)
	if err != nil || many {
		return many, err
	}
	flag := r.given()
	if flag != "" && s.chosen == nil {
		return false, usage("--%s is for the hosts of an inventory: choose them with --inventory and --hosts, or --all", flag)
	}
	return flag != "", nil
}

// policy is what bounds the rollout.
func (r *rolloutFlags) policy() (p rollout.Policy, err error) {
	p = rollout.DefaultPolicy()
	for _, one := range []struct {
		text string
		read func(text string) error
	}{
		{r.inFlight, func(text string) (err error) { p.MaxInFlight, err = rollout.ParseMaxInFlight(text); return err }},
		{r.failures, amount("--max-failures", &p.MaxFailures)},
		{r.waveFailures, amount("--max-wave-failures", &p.MaxWaveFailures)},
		{r.unreachable, amount("--max-unreachable", &p.MaxUnreachable)},
		{r.pause, func(text string) (err error) { p.Pause, p.Manual, err = rollout.ParsePause(text); return err }},
		{r.onFailure, func(text string) (err error) { p.OnFailure, err = rollout.ParseOnFailure(text); return err }},
		{r.onOrphan, func(text string) (err error) { p.OnOrphan, err = rollout.ParseOnOrphan(text); return err }},
	} {
		if one.text == "" {
			continue
		}
		if err := one.read(one.text); err != nil {
			return p, misuse(err)
		}
	}
	if r.set.Changed("fetch-timeout") {
		p.FetchTimeout = r.fetchTimeout
	}
	p.Checks, err = r.checks()
	return p, err
}

func amount(flag string, to *rollout.Amount) func(string) error {
	return func(text string) (err error) {
		if *to, err = rollout.ParseAmount(text); err != nil {
			err = fmt.Errorf("%s: %w", flag, err)
		}
		return err
	}
}

// checks are what the driver asks about each host.
func (r *rolloutFlags) checks() ([]rollout.Check, error) {
	var all []rollout.Check
	add := func(c rollout.Check) {
		c.Interval, c.Failures, c.For = r.checkInterval, r.checkFailures, r.checkFor
		all = append(all, c)
	}
	for _, text := range r.checkCommand {
		command := strings.Fields(text)
		if len(command) == 0 {
			return nil, usage("--check-command is empty: want a program and its arguments")
		}
		add(rollout.Check{Command: command})
	}
	for _, url := range r.checkHTTP {
		add(rollout.Check{HTTP: url})
	}
	for _, text := range r.checkPrometheus {
		url, query, ok := strings.Cut(strings.TrimSpace(text), " ")
		if !ok {
			return nil, usage("--check-promql %q: want the server's URL, a blank and a query, such as 'http://prometheus:9090 up{instance=\"{host}\"}'", text)
		}
		add(rollout.Check{Prometheus: url, Query: strings.TrimSpace(query)})
	}
	return all, nil
}

// shape is the order in which hosts are reached.
func (r *rolloutFlags) shape(hosts []inventory.Host) (rollout.Shape, error) {
	shape := rollout.Shape{Spread: r.spread}
	var err error
	if r.waves != "" {
		if shape.Waves, err = rollout.ParseWaves(r.waves); err != nil {
			return shape, misuse(fmt.Errorf("--%w", err))
		}
	}
	if r.canary == "" {
		return shape, nil
	}
	if a, err := rollout.ParseAmount(r.canary); err == nil {
		shape.Canary.Amount = a
		return shape, nil
	}
	selector, err := inventory.ParseSelector(r.canary)
	if err != nil {
		return shape, usage("--canary %s: want a number of hosts, a share such as 10%%, or a selector: %w", r.canary, err)
	}
	first, err := inventory.New(append([]inventory.Host{}, hosts...)).Choose(inventory.Choice{Hosts: []inventory.Selector{selector}})
	if err != nil {
		return shape, usage("--canary %s: %w", r.canary, err)
	}
	shape.Canary.Hosts = names(first)
	return shape, nil
}
