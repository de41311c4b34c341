package ctl

import (
	"context"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/inventory"
	"github.com/gracefleet/gracefleet/ctl/rollout/runner"
	"github.com/gracefleet/gracefleet/internal/delta"
)

const (
	// servedAtOnce is how many hosts fetch from one at the same time; it takes no more.
	servedAtOnce = 4
	// seedLimit bounds what a host tries before the artifact is pushed from here.
	seedLimit = 5 * time.Minute
)

// seeding has a few hosts get each file from here, and the others from those that have
// it. Whatever fails there is pushed from here. Several goroutines may use it.
type seeding struct {
	most  int // hosts that get a file from here, unless something fails
	mu    sync.Mutex
	files map[string]*supplied // by digest

	instead int   // hosts that got a file from here instead
	why     error // the first time
}

// supplied is who has one file.
type supplied struct {
	pushing int
	seeds   []*seed
	changed chan struct{} // closed when something else holds
}

// seed is a host that has a file.
type seed struct {
	host   inventory.Host
	id     string // its agent's identity
	busy   int    // hosts that fetch from it
	failed bool
}

func newSeeding(most int) *seeding { return &seeding{most: most, files: map[string]*supplied{}} }

// turn waits until a host can get a file: from a seed, or from here, with nil. Those that
// get it from here do not wait, so somebody always goes on. end is called with the
// host's agent's identity once it has the file, and with "" when it has not.
func (s *seeding) turn(ctx context.Context, host inventory.Host, digest string) (from *seed, end func(id string), err error) {
	for {
		s.mu.Lock()
		f := s.files[digest]
		if f == nil {
			f = &supplied{changed: make(chan struct{})}
			s.files[digest] = f
		}
		from, found := f.choose(s.most)
		changed := f.changed
		if found {
			s.mu.Unlock()
			return from, func(id string) { s.end(f, host, from, id) }, nil
		}
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// choose is the seed that has the least to do, or nil for here.
func (f *supplied) choose(most int) (from *seed, found bool) {
	alive := 0
	for _, s := range f.seeds {
		if s.failed {
			continue
		}
		alive++
		if s.busy < servedAtOnce && (from == nil || s.busy < from.busy) {
			from = s
		}
	}
	switch {
	case alive+f.pushing < most:
		f.pushing++
		return nil, true
	case from != nil:
		from.busy++
		return from, true
	}
	return nil, false
}

func (s *seeding) end(f *supplied, host inventory.Host, from *seed, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from == nil {
		f.pushing--
	} else {
		from.busy--
	}
	if id != "" {
		f.seeds = append(f.seeds, &seed{host: host, id: id})
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// fell notes that a host gets a file from here instead. A seed that does not answer is
// nobody's any more.
func (s *seeding) fell(from *seed, gone bool, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead++
	from.failed = from.failed || gone
	if s.why == nil {
		s.why = why
	}
}

// note says how many hosts it did not work for, once it is over.
func (s *seeding) note(say func(format string, args ...any)) {
	if s.instead > 0 {
		say("seeds: %s got the artifact from here instead: %s", count(s.instead, "host"), words(s.why))
	}
}

// spreadTo brings a host a file that it lacks.
func (s *session) spreadTo(ctx context.Context, g *seeding, host inventory.Host, d runner.Delivery, up *upload) error {
	if g.most == 0 {
		return s.deliverTo(ctx, host, d, up)
	}
	from, end, err := g.turn(ctx, host, up.header.GetDigest())
	if err != nil {
		return err
	}
	id := ""
	defer func() { end(id) }()
	c := newClient(d.Conn, host)
	own := c.identity(ctx)
	if from != nil && own != "" {
		gone, err := s.fetchFrom(ctx, from, c, own, d, up)
		if err == nil {
			id = own
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		g.fell(from, gone, err)
	}
	if err := s.deliverTo(ctx, host, d, up); err != nil {
		return err
	}
	id = own
	return nil
}

// identity is that of the agent on the network; empty where it has none, or does not
// tell it.
func (c *client) identity(ctx context.Context) string {
	agent, _ := c.agentInfo(ctx)
	return agent.GetNetwork().GetIdentity()
}

// fetchFrom has one host fetch a file from another one. gone says that it is that one
// which does not answer.
func (s *session) fetchFrom(ctx context.Context, from *seed, c *client, own string, d runner.Delivery, up *upload) (gone bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, seedLimit)
	defer cancel()
	proof, err := up.proof()
	if err != nil {
		return false, err
	}
	granted, err := visit(ctx, s, from.host, func(ctx context.Context, c *client) (*pb.GrantArtifactResponse, error) {
		return c.artifacts.GrantArtifact(ctx, &pb.GrantArtifactRequest{Digest: up.header.GetDigest(), AgentId: own, Proof: proof})
	})
	if err != nil {
		return true, err
	}
	_, err = c.fetch(ctx, up.fetched(&pb.ArtifactSeed{Address: from.host.Address, AgentId: from.id, Ticket: granted.GetTicket()}), d.Sent)
	if err == nil {
		return false, nil
	}
	code := api.FromStatus(err).Code
	return code == codes.Unavailable || code == codes.NotFound || code == codes.DeadlineExceeded, err
}

// fetched is the file as an agent is told to fetch it from another one.
func (u *upload) fetched(from *pb.ArtifactSeed) *pb.FetchArtifactRequest {
	h := u.header
	return &pb.FetchArtifactRequest{
		Digest: h.GetDigest(), SizeBytes: h.GetSizeBytes(), FileName: h.GetFileName(), Version: h.GetVersion(), Labels: h.GetLabels(),
		Data: h.GetData(), Tree: h.GetTree(), Source: &pb.FetchArtifactRequest_Seed{Seed: from},
	}
}

// proof shows to agents that this machine has the file's bytes.
func (u *upload) proof() ([]byte, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.proved != nil {
		return u.proved, nil
	}
	proved, err := delta.Proof(u.header.GetDigest(), io.NewSectionReader(u.file, 0, u.header.GetSizeBytes()))
	u.proved = proved
	return proved, err
}
