package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/ctl/rollout"
	"github.com/gracefleet/gracefleet/internal/pause"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fleet is agents within one test, without a network.
type fleet struct {
	agents map[string]*agent
	names  []string
	served sync.WaitGroup

	mu         sync.Mutex
	complaints []string
	calls      int
	// faults by the number of the call, counted from 1.
	faults map[int]fault
	kill   func() // the runner that runs
	trace  []string

	dead sync.Map // drivers by name, whose calls nobody hears any more
}

// fault is what happens to a call.
type fault int

const (
	none    fault = iota
	dropped       // it never comes
	lost          // its answer does not
	late          // it takes long
	restart       // the agent restarts first
	killed        // the driver dies after it is sent
)

func newFleet(n int) *fleet {
	f := &fleet{agents: make(map[string]*agent), faults: make(map[int]fault)}
	for i := range n {
		name := fmt.Sprintf("web%d", i+1)
		a := &agent{name: name, fleet: f, given: make(map[int64]string), events: make(chan struct{}), serves: "old"}
		a.start()
		f.agents[name] = a
		f.names = append(f.names, name)
	}
	return f
}

func (f *fleet) close() {
	for _, a := range f.agents {
		a.server.Stop()
	}
	f.served.Wait()
}

// fault has what was planned happen; lost says that the answer is to be withheld.
func (f *fleet) fault(ctx context.Context, a *agent, method string) (isLost bool, err error) {
	f.mu.Lock()
	f.calls++
	what, kill := f.faults[f.calls], f.kill
	f.trace = append(f.trace, fmt.Sprintf("%d %s %s %s", f.calls, a.name, method, []string{"", "dropped", "lost", "late", "restart", "killed"}[what]))
	f.mu.Unlock()
	gone := status.Error(codes.Unavailable, "connection refused")
	switch what {
	case dropped:
		return false, gone
	case lost:
		return true, nil
	case late:
		return false, pause.For(ctx, 12*time.Second)
	case restart:
		f.served.Go(a.restart)
		return false, gone
	case killed:
		kill()
	}
	return false, nil
}

func (f *fleet) complain(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.complaints = append(f.complaints, fmt.Sprintf(format, args...))
}

// dialer is that of one driver: its calls carry who it really is.
func (f *fleet) dialer(who string) func(context.Context, string) (*grpc.ClientConn, error) {
	mark := func(ctx context.Context) context.Context { return metadata.AppendToOutgoingContext(ctx, "who", who) }
	return func(_ context.Context, host string) (*grpc.ClientConn, error) {
		return f.agents[host].dial(
			grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				if _, dead := f.dead.Load(who); dead {
					return status.Error(codes.Unavailable, "the driver is dead")
				}
				return invoke(mark(ctx), method, req, reply, cc, opts...)
			}))
	}
}

// spec is a rollout to all hosts.
func (f *fleet) spec(t testing.TB, id string, change func(*rollout.Spec), shape rollout.Shape) rollout.Spec {
	t.Helper()
	var hosts []rollout.Host
	for _, name := range f.names {
		hosts = append(hosts, rollout.Host{Name: name})
	}
	plan, err := rollout.Arrange(hosts, shape)
	if err != nil {
		t.Fatal(err)
	}
	s := rollout.Spec{
		Service: "web", Action: rollout.ActionUpgrade, Releases: []rollout.Release{{Artifact: "sha256:" + strings.Repeat("a1", 32)}},
		Plan: plan, Policy: rollout.DefaultPolicy(), Gates: f.names, Request: rollout.Request{ID: id, Actor: "alice"},
	}
	if change != nil {
		change(&s)
	}
	if s, err = rollout.NewSpec(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// drive runs a rollout to its end.
func (f *fleet) drive(t testing.TB, ctx context.Context, spec rollout.Spec, name string, change func(*Options)) (rollout.State, error) {
	t.Helper()
	o := Options{Dial: f.dialer(name), Driver: name}
	if change != nil {
		change(&o)
	}
	r, err := New(spec, o)
	if err != nil {
		t.Fatal(err)
	}
	return r.Run(ctx)
}

// leaveIn has driver a begin a rollout, and leave in a phase of it.
func (f *fleet) leaveIn(t testing.TB, spec rollout.Spec, phase rollout.Phase) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	_, err := f.drive(t, ctx, spec, "a", func(o *Options) {
		o.Observe = func(c Change) {
			if c.State.Phase == phase {
				leave()
			}
		}
	})
	if !errors.Is(err, ErrDetached) {
		t.Fatal(err)
	}
}

// story runs a test in a bubble, where time passes when nothing else happens.
func story(t *testing.T, n int, tell func(t *testing.T, f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(n)
		tell(t, f)
		f.close()
		synctest.Wait()
		for _, c := range f.complaints {
			t.Error(c)
		}
		if t.Failed() {
			t.Log(strings.Join(f.trace, "\n"))
		}
	})
}

// outcomes are the results by outcome, in the order of the plan.
func outcomes(s *rollout.State) string {
	var out []string
	for _, r := range s.Results() {
		out = append(out, r.Host+" "+string(r.Outcome))
	}
	return strings.Join(out, ", ")
}
