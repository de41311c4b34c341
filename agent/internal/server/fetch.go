package server

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/gracefleet/gracefleet/agent/internal/fetch"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/identity"
	"github.com/gracefleet/gracefleet/internal/link"
)

// fetchTold is the least time between two messages on how far a fetch has come.
const fetchTold = 200 * time.Millisecond

type fetchStream = grpc.ServerStreamingServer[pb.FetchArtifactResponse]

// FetchArtifact has the agent fetch an artifact by itself. It counts as an upload of
// whoever asks for it.
func (a *artifactService) FetchArtifact(r *pb.FetchArtifactRequest, stream fetchStream) error {
	order, err := a.order(r)
	if err != nil {
		return err
	}
	over, err := a.server.beginUpload(stream.Context())
	if err != nil {
		return err
	}
	defer over()
	last := &pb.FetchArtifactResponse{}
	var told time.Time
	artifact, err := a.fetcher.Fetch(stream.Context(), order, func(committed, size int64) error {
		last.CommittedBytes, last.SizeBytes = committed, size
		if time.Since(told) < fetchTold {
			return nil
		}
		told = time.Now()
		return stream.Send(&pb.FetchArtifactResponse{CommittedBytes: committed, SizeBytes: size})
	})
	if err != nil {
		a.server.answered(stream.Context(), pb.ArtifactService_FetchArtifact_FullMethodName, r, err)
		return err
	}
	last.Artifact = a.message(artifact)
	return stream.Send(last)
}

// GrantArtifact lets another agent fetch an artifact from this one.
func (a *artifactService) GrantArtifact(_ context.Context, r *pb.GrantArtifactRequest) (*pb.GrantArtifactResponse, error) {
	c := &checker{}
	c.failed("digest", service.CheckDigest(r.GetDigest()))
	agent := c.agent("agent_id", r.GetAgentId())
	if domain := a.server.Policy().TrustDomain; agent.Agent() {
		c.that(agent.TrustDomain == domain, "agent_id", fmt.Sprintf("is of another trust domain than this agent's, %q", domain))
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	secret, end, err := a.server.tickets.grant(a.store, r.GetDigest(), agent, r.GetProof())
	if err != nil {
		return nil, err
	}
	return &pb.GrantArtifactResponse{Ticket: secret, ExpireTime: newTimestamp(end)}, nil
}

// agent reads the identity of an agent.
func (c *checker) agent(field, text string) identity.ID {
	id, err := identity.Parse(text)
	c.failed(field, err)
	c.that(err != nil || id.Agent(), field, "is no agent's")
	return id
}

// ticketForm is that of what GrantArtifact answers with, and of nothing that a header
// could not hold.
var ticketForm = regexp.MustCompile(`\A[A-Z0-9]{16,128}\z`)

// seed is an agent that a request names as a source.
func (c *checker) seed(digest string, s *pb.ArtifactSeed) *fetch.Seed {
	_, port, err := net.SplitHostPort(s.GetAddress())
	c.that(err == nil && port != "" && !strings.ContainsAny(s.GetAddress(), "/?#@"), "seed.address", "is not HOST:PORT")
	at, err := link.Parse("https://" + s.GetAddress() + "/" + strings.TrimPrefix(digest, "sha256:"))
	c.failed("seed.address", err)
	c.that(ticketForm.MatchString(s.GetTicket()), "seed.ticket", "is not what GrantArtifact has answered with")
	return &fetch.Seed{At: at, Agent: c.agent("seed.agent_id", s.GetAgentId()), Ticket: s.GetTicket()}
}

// order is what a request asks for.
func (a *artifactService) order(r *pb.FetchArtifactRequest) (fetch.Order, error) {
	c := &checker{}
	c.failed("digest", service.CheckDigest(r.GetDigest()))
	var from link.Link
	var seed *fetch.Seed
	if r.GetSeed() != nil {
		seed = c.seed(r.GetDigest(), r.GetSeed())
	} else {
		var err error
		from, err = link.Parse(r.GetUrl())
		c.failed("url", err)
	}
	c.that(r.GetSizeBytes() >= 0, "size_bytes", "is negative")
	c.description("", r)
	options := a.options(r)
	options.Name = cmp.Or(options.Name, from.Name())
	return fetch.Order{Digest: r.GetDigest(), Size: r.GetSizeBytes(), From: from, Seed: seed, Options: options}, c.err()
}
