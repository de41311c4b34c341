package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/rollout"
)

// Looker asks agents about rollouts, and changes nothing. Dial is required.
type Looker struct {
	// Dial is as in Options.
	Dial func(ctx context.Context, host string) (*grpc.ClientConn, error)
	// MaxConns bounds how many hosts are asked at once; 0 means DefaultMaxConns.
	MaxConns int
}

// Parts is what one host says.
type Parts struct {
	Host    string
	Reports []*pb.RolloutReport // newest first
	Freeze  *pb.Freeze          // nil unless upgrades are stopped
	// Err is why the host did not answer.
	Err error
}

// Sight is a rollout as its hosts tell it.
type Sight struct {
	Spec  rollout.Spec
	State rollout.State
	// Reports are by host; of those that have no part, or did not answer, there is none.
	Reports map[string]*pb.RolloutReport
	// Errors say why hosts did not answer, or are not believed, by host.
	Errors map[string]error
}

// Gate is the host at which a driver listens to operators: of those that are asked first
// for their claims the first that has given it. It is empty when none of them answered.
func (s *Sight) Gate() string {
	for _, i := range s.State.Gates {
		name := s.State.Hosts[i].Name
		if r := s.Reports[name]; r != nil && r.GetReleaseTime() == nil {
			return name
		}
	}
	return ""
}

// Driven is the gate's report if the lease there is not over: it names the driver. It is
// nil when nobody drives. Elsewhere leases may last longer than their driver.
func (s *Sight) Driven() *pb.RolloutReport {
	if r := s.Reports[s.Gate()]; r.GetLeaseEndTime() != nil {
		return r
	}
	return nil
}

// ErrNoRollout says that no host that answered has such a rollout.
var ErrNoRollout = errors.New("no host that answers has such a rollout")

// errOtherSpec is why a host that answers is not believed: an id names one spec.
var errOtherSpec = errors.New("what it has under the rollout's id is another spec, and does not count: its record is damaged, or somebody made it up")

// List asks all hosts for their parts in rollouts of a service; of all services when
// that is empty. The answers are in the order of the hosts.
func (l Looker) List(ctx context.Context, service string, hosts []string) []Parts {
	all := make([]Parts, len(hosts))
	slots := make(chan struct{}, l.conns())
	var asked sync.WaitGroup
	for i, host := range hosts {
		slots <- struct{}{}
		asked.Go(func() {
			defer func() { <-slots }()
			all[i] = l.parts(ctx, service, host)
		})
	}
	asked.Wait()
	return all
}

func (l Looker) conns() int {
	if l.MaxConns > 0 {
		return l.MaxConns
	}
	return DefaultMaxConns
}

func (l Looker) parts(ctx context.Context, service, host string) (p Parts) {
	p.Host = host
	p.Err = l.ask(ctx, host, func(ctx context.Context, c pb.RolloutServiceClient) error {
		answer, err := c.ListRollouts(ctx, &pb.ListRolloutsRequest{Service: service})
		p.Reports, p.Freeze = answer.GetReports(), answer.GetFreeze()
		return err
	})
	return p
}

// ask makes a connection for one call.
func (l Looker) ask(ctx context.Context, host string, do func(context.Context, pb.RolloutServiceClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	conn, err := l.Dial(ctx, host)
	if err != nil {
		return err
	}
	defer conn.Close()
	return do(ctx, pb.NewRolloutServiceClient(conn))
}

// Look finds a rollout of a service by its id; an empty id means the one that has the
// service, else the last. The hosts are those of the inventory: those that have no
// part in it do not matter.
func (l Looker) Look(ctx context.Context, service, id string, hosts []string) (*Sight, error) {
	all := l.List(ctx, service, hosts)
	if id == "" {
		id = latest(all)
	}
	s := &Sight{Reports: make(map[string]*pb.RolloutReport), Errors: make(map[string]error)}
	for _, p := range all {
		if p.Err != nil {
			s.Errors[p.Host] = p.Err
		}
		for _, r := range p.Reports {
			if id != "" && r.GetRolloutId() == id && s.Reports[p.Host] == nil {
				s.Reports[p.Host] = r
			}
		}
	}
	if err := l.findSpec(ctx, s, service, id, hosts); err != nil {
		return nil, err
	}
	s.disbelieve()
	now := rollout.Time(time.Now().UnixNano())
	s.State = rollout.Rebuild(s.Spec, s.events(now), now)
	return s, nil
}

// latest is the rollout that has the service, or else the last one that had it.
func latest(all []Parts) string {
	var best *pb.RolloutReport
	for _, p := range all {
		for _, r := range p.Reports {
			if best == nil || newer(r, best) {
				best = r
			}
		}
	}
	return best.GetRolloutId()
}

func newer(r, than *pb.RolloutReport) bool {
	held, other := r.GetReleaseTime() == nil, than.GetReleaseTime() == nil
	if held != other {
		return held
	}
	return r.GetClaimTime().AsTime().After(than.GetClaimTime().AsTime())
}

// findSpec asks hosts that have a part for the whole, until one has told it. What a
// host says is believed when it is the rollout that its id names, and the host's part in it.
func (l Looker) findSpec(ctx context.Context, s *Sight, service, id string, hosts []string) error {
	err := ErrNoRollout
	for _, host := range hosts {
		if s.Reports[host] == nil {
			continue
		}
		if s.Spec, err = l.spec(ctx, host, service, id); err != nil {
			continue
		}
		if s.Reports[host].GetSpecHash() == s.Spec.Hash() {
			return nil
		}
		err = fmt.Errorf("%s: %w", host, errOtherSpec)
	}
	return err
}

// disbelieve names the hosts whose reports are not of the spec, as if they had not answered.
func (s *Sight) disbelieve() {
	hash := s.Spec.Hash()
	for host, r := range s.Reports {
		if r.GetSpecHash() != hash {
			s.Errors[host] = errOtherSpec
			delete(s.Reports, host)
		}
	}
}

func (l Looker) spec(ctx context.Context, host, service, id string) (rollout.Spec, error) {
	var data []byte
	err := l.ask(ctx, host, func(ctx context.Context, c pb.RolloutServiceClient) error {
		answer, err := c.GetRollout(ctx, &pb.GetRolloutRequest{Service: service, RolloutId: id})
		data = answer.GetSpec()
		return err
	})
	if err != nil {
		return rollout.Spec{}, fmt.Errorf("%s: %w", host, err)
	}
	spec, err := rollout.Decode(data)
	if err != nil {
		return rollout.Spec{}, fmt.Errorf("%s: %w", host, err)
	}
	if spec.ID() != id {
		return rollout.Spec{}, fmt.Errorf("%s: it was asked for rollout %s and tells %s", host, id, spec.ID())
	}
	if !names(spec, host) {
		return rollout.Spec{}, fmt.Errorf("%s: it has a claim for rollout %s, which is for other hosts: they do not know of it", host, id)
	}
	return spec, nil
}

// names says whether a rollout is for a host, or asks it who drives. Of others it has no
// claims: one that says otherwise speaks for hosts on which whoever claimed it may do nothing.
func names(spec rollout.Spec, host string) bool {
	return slices.Contains(spec.Gates, host) || slices.ContainsFunc(spec.Plan.Targets, func(t rollout.Target) bool { return t.Name == host })
}

// events are what the hosts say, for the machine.
func (s *Sight) events(now rollout.Time) []rollout.Event {
	started := false
	for _, r := range s.Reports {
		started = started || begun(r)
	}
	var out []rollout.Event
	for _, h := range rollout.New(s.Spec).Hosts {
		e := s.event(h.Name, started)
		e.Host, e.At = h.Name, now
		out = append(out, e)
	}
	return out
}

// event is what is known of one host. One that has no part in a rollout which has
// begun takes no part; before, it may not have been asked yet.
func (s *Sight) event(host string, started bool) rollout.Event {
	r, failed := s.Reports[host], s.Errors[host]
	switch {
	case r != nil:
		return told(host, r)
	case failed != nil:
		return rollout.Event{Type: rollout.Unreachable, Message: api.FromStatus(failed).Message}
	case started:
		return rollout.Event{Type: rollout.Declined, Message: "it has no part in the rollout"}
	}
	return rollout.Event{Type: rollout.Forgotten}
}
