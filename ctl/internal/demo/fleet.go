package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gracefleet/gracefleet/ctl/internal/scratch"
)

// hostCount is how many hosts the fleet has, each of them an agent.
const hostCount = 3

// fleet is what the acts of the fleet's story work with: a stage for each host.
type fleet struct {
	screen *screen
	dir    string
	hosts  []*stage
}

// RunFleet tells the story of a fleet: three agents as hosts, and rollouts over them,
// by commands that anybody could type. It returns an error when an act did not end as
// told, when a request was lost, or with ctx; everything it started is gone then. With
// Options.Stay it waits for the end of ctx before it cleans up.
func RunFleet(ctx context.Context, o Options) (r Report, err error) {
	dir, err := directory()
	if err != nil {
		return r, err
	}
	f := &fleet{screen: newScreen(o), dir: dir}
	defer func() {
		err = errors.Join(err, f.cleanUp(ctx, o.Keep))
	}()
	if err := f.set(ctx); err != nil {
		return r, err
	}
	if err = f.play(ctx, o); err == nil && o.Stay {
		f.stay(ctx)
	}
	r = f.report()
	if err == nil {
		err = r.lost()
	}
	return r, err
}

// set finds or builds the programs, starts the agents and writes their inventory.
func (f *fleet) set(ctx context.Context) error {
	f.screen.title("An agent for each of %d hosts, all in %s, without any privilege", hostCount, f.dir)
	programs, err := prepare(ctx, f.screen, f.dir)
	if err != nil {
		return err
	}
	for i := range hostCount {
		s := &stage{screen: f.screen, dir: filepath.Join(f.dir, fmt.Sprintf("web-%d", i+1))}
		if err := os.Mkdir(s.dir, 0o700); err != nil {
			return err
		}
		f.hosts = append(f.hosts, s)
		if s.port, err = freePort(); err != nil {
			return err
		}
		if s.agent, err = scratch.Start(ctx, programs, s.dir); err != nil {
			return err
		}
		if err := s.connect(); err != nil {
			return err
		}
	}
	if err := os.WriteFile(f.inventory(), []byte(f.inventoryText()), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(f.dir, "sample.yaml"), []byte(sampleFile), 0o600)
}

func (f *fleet) inventory() string { return filepath.Join(f.dir, "fleet.yaml") }

// inventoryText lists the hosts: on this machine they differ by the port.
func (f *fleet) inventoryText() string {
	var text strings.Builder
	text.WriteString("hosts:\n")
	for i, s := range f.hosts {
		fmt.Fprintf(&text, "  - {name: %s, address: \"unix:%s\", labels: {role: web, zone: %c}, vars: {port: %d}}\n",
			filepath.Base(s.dir), s.agent.Socket, 'a'+i, s.port)
	}
	return text.String()
}

// sampleFile is the sample service as each host declares it.
const sampleFile = `name: sample
artifact: ./sample-v1
args: [` + SampleArgument + `]
sockets: [{name: http, listen: "tcp://127.0.0.1:{host.vars.port}"}]
ready: {notify: {}, timeout: 10s}
upgrade: {soak: 1500ms, check: {http: {socket: http, path: /healthz}, interval: 400ms, failures: 2}}
drain: {mode: signal, timeout: 10s}
`

// startLoad sends requests to every host.
func (f *fleet) startLoad(ctx context.Context, o Options) {
	o.Rate /= hostCount
	for _, s := range f.hosts {
		s.run(ctx, o)
	}
}

// stay waits until the user has seen enough.
func (f *fleet) stay(ctx context.Context) {
	f.screen.title("The hosts stay until Ctrl-C. In another terminal:")
	f.screen.say("cd %s; export GRACECTL_INVENTORY=$PWD/fleet.yaml", f.dir)
	f.screen.say("gracectl upgrade sample ./sample-v4 --all --canary 1")
	<-ctx.Done()
}

func (f *fleet) report() Report {
	var r Report
	var lost []string
	for _, s := range f.hosts {
		if s.load == nil {
			continue
		}
		end := s.load.Stop()
		r.add(end)
		lost = append(lost, end.Errors...)
	}
	f.screen.result(r, lost)
	return r
}

// cleanUp ends every host, also when the demo was interrupted.
func (f *fleet) cleanUp(ctx context.Context, keep bool) error {
	failed := make([]error, len(f.hosts))
	var all sync.WaitGroup
	for i, s := range f.hosts {
		all.Go(func() { failed[i] = s.end(ctx) })
	}
	all.Wait()
	err := errors.Join(failed...)
	if keep || err != nil {
		f.screen.say("everything is left in %s", f.dir)
		return err
	}
	return os.RemoveAll(f.dir)
}
