package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

// DefaultLease is how long a lease lasts that is not renewed. A host whose connection
// has failed for as long is reported unreachable.
const DefaultLease = 15 * time.Second

// DefaultMaxConns is how many calls that every host gets are made at the same time.
const DefaultMaxConns = 128

// ErrDetached says that the caller's context ended before the rollout did: hosts in
// flight finish, claims stay, leases are given up, and anybody may go on.
var ErrDetached = errors.New("detached: the rollout stays where it is; hosts in flight finish by themselves")

// Options say how a rollout is driven. Dial and Driver are required.
type Options struct {
	// Dial prepares a connection to the agent of a host. It need not wait for it; an
	// error counts as a connection that failed. The runner closes the connection. It
	// is called by several goroutines.
	Dial func(ctx context.Context, host string) (*grpc.ClientConn, error)
	// Address is where a host is, for checks; nil means its name.
	Address func(host string) string
	// Deliver brings a host what it lacks of a release, and returns once that is
	// there. After an error of the connection, and after an agent's that may pass, it is
	// called again; any other is the host's: it does not get the release, and is not
	// touched. nil means that hosts fetch by themselves, or have all. It is called by
	// several goroutines.
	Deliver func(ctx context.Context, d Delivery) error
	// Driver names this process among all drivers: another name each time.
	Driver string
	// TakeOver takes the lease from a driver that has it. It needs a Reason.
	TakeOver bool
	// Reason says why it is taken over, or gone on with; empty means the request's.
	Reason string
	// Epoch is the least one to claim hosts with, where a coordinator decides who drives;
	// 0 without one.
	Epoch int64
	// RequestID is for the agents' record of who did what; empty means the request's.
	RequestID string
	// Command is given before any host is asked: rollout.Resume goes on although the
	// rollout is paused or held up, rollout.Abort has every touched host go back, also
	// of a rollout that has ended. 0 gives none.
	Command rollout.EventType
	// Why says who gives an Abort and what for, as in "aborted by alice: wrong build". Empty
	// means that an operator does.
	Why string
	// Commands allows checks to run programs on this machine. A Spec that was not made
	// here came from a host: whoever goes on with it decides whether to run what that
	// host says. New refuses a Spec that needs it otherwise.
	Commands bool
	// Patience is how long to stay while the rollout is held up by what may end by
	// itself: by hosts that are out of reach. 0 leaves at once.
	Patience time.Duration
	// Observe is told all that changes, in order, by one goroutine: nothing else
	// happens until it returns. nil tells nobody.
	Observe func(Change)
	// Lease is how long leases last; 0 means DefaultLease.
	Lease time.Duration
	// MaxConns bounds the calls that every host gets, and the connections that are made,
	// at the same time; 0 means DefaultMaxConns. Four times as many connections are kept
	// without being used, of some 100 KB each. Hosts in flight have one each beside these.
	MaxConns int
}

// Delivery is what one host lacks.
type Delivery struct {
	Host string
	Conn *grpc.ClientConn // not to be closed
	// Release is the index of Spec.Releases.
	Release int
	// Missing are digests of the artifact and of files of the definition.
	Missing []string
	// Sent tells observers how many of how many bytes went over the wire, whenever that
	// is known. It may be called by any goroutine and does not block for long.
	Sent func(bytes, of int64)
}

// deliveriesAtOnce bounds the hosts that get what they lack at the same time: a line has
// its limit, and each has its buffers.
const deliveriesAtOnce = 32

// programsAtOnce bounds the commands of checks that run at the same time.
const programsAtOnce = 32

// Runner drives one rollout, once.
type Runner struct {
	spec     rollout.Spec
	o        Options
	id, hash string
	encoded  []byte
	changes  []*pb.RolloutChange // of each release
	releases map[string]int      // by target

	hosts      map[string]*host // never changed
	leastEpoch atomic.Int64     // the highest that was seen
	pool       *pool
	calls      chan struct{} // room for calls that every host gets
	deliveries chan struct{} // room for deliveries
	programs   chan struct{} // room for programs of checks
	inbox      chan message
	current    atomic.Pointer[rollout.State] // for Command
}

// message is what tasks tell the owner of the state.
type message struct {
	event  rollout.Event // Type 0 for bytes alone
	report *pb.RolloutReport
	held   *HeldError
	from   *task

	host       string
	sent, size int64
}

// New is a runner of a rollout. It calls nobody yet.
func New(spec rollout.Spec, o Options) (*Runner, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("rollout of %s: %w", spec.Service, err)
	}
	for _, c := range spec.Policy.Checks {
		if len(c.Command) > 0 && !o.Commands {
			return nil, fmt.Errorf("rollout of %s: %s would run on this machine, and nobody has allowed it", spec.Service, c)
		}
	}
	encoded, err := spec.Encode()
	if err != nil {
		return nil, err
	}
	all, err := changes(spec)
	if err != nil {
		return nil, err
	}
	r := &Runner{
		spec: spec, o: o, id: spec.ID(), hash: spec.Hash(), encoded: encoded, changes: all,
		releases: make(map[string]int), hosts: make(map[string]*host),
		pool:  newPool(o.Dial, o.MaxConns),
		calls: make(chan struct{}, o.MaxConns), deliveries: make(chan struct{}, deliveriesAtOnce),
		programs: make(chan struct{}, programsAtOnce), inbox: make(chan message, 4*o.MaxConns),
	}
	r.leastEpoch.Store(o.Epoch)
	for _, target := range spec.Plan.Targets {
		r.releases[target.Name] = target.Release
	}
	return r, nil
}

// complete fills in what was not said.
func (o *Options) complete() error {
	o.Lease = cmp.Or(o.Lease, DefaultLease)
	o.MaxConns = cmp.Or(o.MaxConns, DefaultMaxConns)
	if o.Observe == nil {
		o.Observe = func(Change) {}
	}
	if o.Address == nil {
		o.Address = func(host string) string { return host }
	}
	switch {
	case o.Dial == nil || o.Driver == "":
		return errors.New("nobody drives it: want Dial and Driver")
	case o.TakeOver && o.Reason == "":
		return errors.New("it is taken over for no reason: say why")
	case o.Command != 0 && o.Command != rollout.Resume && o.Command != rollout.Abort:
		return errors.New("before hosts are asked it can be resumed and aborted, and nothing else")
	case o.Lease < 0 || o.MaxConns < 0 || o.Patience < 0 || o.Epoch < 0:
		return errors.New("a lease, a patience, an epoch or a number of connections is below 0")
	}
	return nil
}

func (r *Runner) raiseEpoch(seen int64) {
	for {
		least := r.leastEpoch.Load()
		if seen <= least || r.leastEpoch.CompareAndSwap(least, seen) {
			return
		}
	}
}

// Run drives the rollout until it has ended, or is held up and only an operator can
// help. The state's Verdict is the exit code, whatever the error is: ErrDetached when
// ctx ended, a *HeldError when somebody else is at it, and nil otherwise, also where
// the rollout failed. It returns within a second of ctx.
func (r *Runner) Run(ctx context.Context) (rollout.State, error) {
	ctx, cancel := context.WithCancel(ctx)
	d := newDrive(r)
	err := d.run(ctx)
	cancel()
	d.tasks.Wait()
	if d.state.Phase != rollout.Ended {
		d.leave()
	}
	r.pool.close()
	return d.state, err
}
